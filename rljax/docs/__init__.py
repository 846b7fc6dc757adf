"""The site: guides from README.md, a reference from docstrings. `mkdocs build` reads `mkdocs.yml`.

Nothing of the library imports this package, and the wheel leaves it out.
"""
