"""The service: what customers subscribed, the delivery queue, delivery, the HTTP API and the command line.

`app` wires every role and is the one place that knows everyone; read its `Service.run` first.
"""

from importlib.metadata import version

VERSION = version("heliograph")
