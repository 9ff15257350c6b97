"""Transparency: facts become documents, documents become signed bytes, bytes are served as they were signed.

Peering, incidents, status and the canary each get a pure builder here (rows in, document out); publishing,
other people's formats, routes and pages follow. May import `consumers`, `signer` and `runtime`.
"""
