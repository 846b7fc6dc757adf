"""What rljax costs beside other programs that do the same work."""
