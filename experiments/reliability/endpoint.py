"""A judge's endpoint that behaves badly: `python endpoint.py <manner>` prints its port and serves.

It speaks OpenAI's format, and says yes to answers with a b in them.
"""

import http.server
import json
import re
import sys
import threading
import time

SILENCE = 10.0  # seconds, longer than any client waits
LIMITED = (429, b'{"error": "slower"}')
GARBAGE = (200, b'<html>It works!</html>')
# Manner → what it does at the first request for each answer; or always, to answers that begin with
# an a. None is never.
MANNERS = {
  'well': (None, None),
  'late': ('silent', None),
  'garbled for a while': (GARBAGE, None),
  'limited for a while': (LIMITED, None),
  'refusing': (None, (400, b'{"error": "no"}')),
  'silent': (None, 'silent'),
  'garbled': (None, GARBAGE),
  'without verdict': (None, 'I cannot say.'),
  'limited': (None, LIMITED),
}


class Handler(http.server.BaseHTTPRequestHandler):
  manner, seen, lock = 'well', set(), threading.Lock()

  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
    said = body['messages'][-1]['content']
    answer = re.search(r'\[(answer-\w+)\]\n(.*?)\n\[/\1\]', said, re.DOTALL)[2]
    at_first, always = MANNERS[self.manner]
    with self.lock:
      is_first = answer not in self.seen
      self.seen.add(answer)
    found = (always if answer.startswith('a') else None) or (at_first if is_first else None)
    if found == 'silent':
      time.sleep(SILENCE)
    elif isinstance(found, tuple):
      self.reply(*found)
    else:
      text = found or f'Verdict: {"yes" if "b" in answer else "no"}'
      self.reply(200, json.dumps({'choices': [{'message': {'content': text}}]}).encode())

  def reply(self, status, data):
    self.send_response(status)
    if status == 429:
      self.send_header('Retry-After', '0.1')
    self.send_header('Content-Length', str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *_):
    pass


def main():
  Handler.manner = sys.argv[1]
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  print(server.server_address[1], flush=True)
  server.serve_forever()


if __name__ == '__main__':
  main()
