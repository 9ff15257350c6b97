"""PGP: the only package that touches keys.

The signing process and the canary's m-of-n verification live here; everyone else calls its client, so that no
key material ever enters the process that faces the internet. May import `runtime` only.
"""
