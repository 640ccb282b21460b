"""Forward auth: a proxy asks who sent a request before it passes the request on.

`asked.py` reads what the proxy tells of the request, `misleading.py` refuses what would mislead the application, and `admission.py`
decides by the access rules. `identity.py` and `credentials.py` make the headers that the application gets, and `answers.py` says it
in the way that each proxy understands.
"""

from .admission import DOORKEEPER, Doorkeeper
from .handlers import HANDLERS, routes

__all__ = ["DOORKEEPER", "HANDLERS", "Doorkeeper", "routes"]
