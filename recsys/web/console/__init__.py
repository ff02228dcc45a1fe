"""The console: pages about everything that is declared, trained, served and decided. They change nothing.

- `reads`: what the pages are made from
- `pages`: the addresses, each one read, one view, one template
- `views`, `traffic_view`, `verdict_view`: from a document to what a template shows; pure functions
- `rendering`: templates, headers and errors as pages
- `session`: how a browser shows the token
- `drawing`: pictures, drawn by a process of their own
"""
