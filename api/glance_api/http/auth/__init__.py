"""Who is calling: one WSGI layer for each way to find out, chosen by ``[paste_deploy] flavor``.

Each layer leaves the identity headers of Keystone's middleware behind, which ``identity.py`` reads. Headers that a
client sent itself are removed first in every flavor except trusted-auth, where a proxy in front is trusted (S-42).
"""

from glance_api.http.auth.flavors import Flavor, choose

__all__ = ["Flavor", "choose"]
