"""API, scheduler and volume service of a Cinder in one process, which needs no broker then.

Run by the Python of Cinder's environment: ``cinder_program.py --config-file CONF``.
"""

from cinder import monkey_patch

monkey_patch.patch()

import shlex  # noqa: E402 - Cinder's modules want to be imported behind the patch
import sys  # noqa: E402 - as above

import os_brick  # noqa: E402 - as above
from cinder import objects, privsep, rpc, service, utils, version  # noqa: E402 - as above
from cinder.common import config  # noqa: E402, F401 - it registers the options
from os_brick import privileged  # noqa: E402 - as above
from oslo_config import cfg  # noqa: E402 - as above
from oslo_log import log  # noqa: E402 - as above
from oslo_privsep import priv_context  # noqa: E402 - as above
from oslo_service.service import ServiceLauncher  # noqa: E402 - as above


def main() -> None:
    """Start the services and run until a signal."""
    conf = cfg.CONF  # noqa: TID251 - it is Cinder's
    objects.register_all()
    conf(sys.argv[1:], project="cinder", version=version.version_string())
    log.setup(conf, "cinder")
    # It is root already, and needs nothing that makes it so.
    for context in (privsep.sys_admin_pctxt, privileged.default, privileged.brick_privsep_hide_output):
        context.set_client_mode(False)
    utils.get_root_helper = lambda: "env"
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(conf)
    rpc.init(conf)
    launcher = ServiceLauncher(conf)
    launcher.launch_service(service.Service.create(binary="cinder-scheduler"))
    for backend in conf.enabled_backends:
        launcher.launch_service(service.Service.create(
            binary="cinder-volume", host=f"{conf.host}@{backend}", service_name=backend, coordination=True
        ))
    launcher.launch_service(service.WSGIService("osapi_volume"))
    launcher.wait()


if __name__ == "__main__":
    main()
