"""What glance-status checks of glance-api: its policy file."""

from oslo_config import cfg

from glance_api import config, policy
from glance_api.policy.enforcer import Enforcer
from glance_api.policy.files import PolicyFiles
from glance_common.config.loading import OptionTable
from glance_common.upgrade.contract import FINE, UpgradeCheck, UpgradeChecks, UpgradeOutcome, warning


def policy_file(conf: cfg.ConfigOpts) -> UpgradeOutcome:
    """Check that the rules can be read and understood, and that they do not stand in the JSON form of old releases."""
    Enforcer(conf)
    as_json = [path for path in PolicyFiles(conf).paths() if path.endswith(".json")]
    if as_json:
        return warning(f"{', '.join(as_json)}: the JSON form of policy files is out of date; rename it to policy.yaml.")
    return FINE


def options() -> OptionTable:
    """Return the options of glance-api."""
    return [*config.list_opts(), *policy.list_opts()]


CHECKS = UpgradeChecks((UpgradeCheck("Policy file", policy_file),), options)
