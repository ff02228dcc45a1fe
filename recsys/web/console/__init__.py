"""The console: pages about everything that is declared, trained, served and decided. They change nothing.

- `reads`: what the pages are made from
- `pages`: the addresses, each one read, one view, one template
- `lanes`: the threads that read, and how long they are waited for
- `answers`: a page, the page of before where nothing has changed, or what failed
- `views`, `traffic_view`, `verdict_view`: from a document to what a template shows; pure functions
- `rendering`: templates and headers
- `sign_in`: the form that asks for the token; `session`, how a browser shows it from then on
- `drawing`: pictures, drawn by a process of their own
"""
