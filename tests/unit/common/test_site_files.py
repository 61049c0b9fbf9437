"""Whole files as sites of the original have them: nothing in them is unknown, and nothing is wrong."""

from importlib.metadata import entry_points

import pytest

from glance_common.config import loading
from glance_common.config.findings import explained, findings
from glance_common.stores import loader

API_2016 = """
[DEFAULT]
verbose = True
debug = False
bind_host = 127.0.0.1
bind_port = 9292
backlog = 4096
workers = 4
tcp_keepidle = 600
max_header_line = 16384
http_keepalive = True
client_socket_timeout = 900
log_file = /var/log/glance/api.log
use_syslog = False
syslog_log_facility = LOG_LOCAL0
default_log_levels = amqp=WARN,amqplib=WARN,boto=WARN,qpid=WARN,sqlalchemy=WARN,iso8601=WARN,requests=WARN
logging_context_format_string = %(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [%(request_id)s] %(message)s
log_date_format = %Y-%m-%d %H:%M:%S
fatal_deprecations = false
enable_v1_api = True
enable_v2_api = True
owner_is_tenant = True
admin_role = admin
allow_anonymous_access = False
show_image_direct_url = True
show_multiple_locations = False
image_size_cap = 1099511627776
user_storage_quota = 500GB
image_member_quota = 128
limit_param_default = 25
api_limit_max = 20000
location_strategy = location_order
registry_host = 10.0.0.11
registry_port = 9191
registry_client_protocol = http
registry_client_insecure = False
registry_client_timeout = 600
use_user_token = True
send_identity_headers = False
notification_driver = messagingv2
rpc_backend = rabbit
rabbit_host = 10.0.0.5
rabbit_userid = openstack
rabbit_password = RABBIT_PASS
rabbit_virtual_host = /
default_publisher_id = image.controller
disabled_notifications =
data_api = glance.db.registry.api
delayed_delete = False
scrub_time = 0
image_cache_dir = /var/lib/glance/image-cache/
image_cache_max_size = 10737418240
image_cache_stall_time = 86400
image_cache_driver = sqlite
image_cache_sqlite_db = cache.db
property_protection_rule_format = roles
[database]
connection = mysql+pymysql://glance:GLANCE_DBPASS@controller/glance
backend = sqlalchemy
idle_timeout = 3600
max_retries = -1
retry_interval = 10
max_pool_size = 10
[keystone_authtoken]
auth_uri = http://controller:5000
auth_url = http://controller:35357
memcached_servers = controller:11211
auth_type = password
project_domain_name = default
username = glance
password = GLANCE_PASS
[paste_deploy]
flavor = trusted-auth
[glance_store]
stores = glance.store.filesystem.Store,glance.store.http.Store
default_store = file
filesystem_store_datadir = {folder}
filesystem_store_file_perm = 0
store_capabilities_update_min_interval = 0
[task]
task_time_to_live = 48
task_executor = taskflow
[taskflow_executor]
engine_mode = parallel
max_workers = 10
[image_format]
container_formats = ami,ari,aki,bare,ovf,ova,docker
disk_formats = ami,ari,aki,vhd,vmdk,raw,qcow2,vdi,iso
[oslo_concurrency]
lock_path = /var/lib/glance/tmp
[oslo_policy]
policy_dirs = policy.d
[profiler]
enabled = False
hmac_keys = SECRET_KEY
[store_type_location_strategy]
store_type_preference =
[matchmaker_redis]
host = 127.0.0.1
[oslo_messaging_rabbit]
rabbit_ha_queues = False
heartbeat_timeout_threshold = 60
[cors]
allowed_origin = https://horizon.example
max_age = 3600
"""
API_NOW = """
[DEFAULT]
bind_host = 127.0.0.1
workers = 2
log_dir = /var/log/glance
use_journal = true
enabled_backends = fast:file,web:http
enabled_import_methods = [glance-direct,web-download,copy-image]
node_staging_uri = file:///var/lib/glance/staging/
worker_self_reference_url = http://node1:9292
use_keystone_limits = false
hashing_algorithm = sha512
show_image_direct_url = true
image_cache_dir = /var/lib/glance/image-cache
image_cache_driver = centralized_db
transport_url = rabbit://openstack:RABBIT_PASS@controller:5672/
[database]
connection = postgresql://glance:GLANCE_DBPASS@db/glance
slave_connection = postgresql://glance:GLANCE_DBPASS@replica/glance
connection_recycle_time = 3600
max_overflow = 50
mysql_enable_ndb = false
[fast]
filesystem_store_datadir = {folder}
store_description = NVMe
weight = 100
filesystem_thin_provisioning = true
[web]
https_insecure = false
[glance_store]
default_backend = fast
[keystone_authtoken]
www_authenticate_uri = https://keystone.example/v3
auth_url = https://keystone.example/v3
auth_type = password
service_token_roles_required = true
username = glance
password = GLANCE_PASS
[oslo_limit]
auth_url = https://keystone.example/v3
auth_type = password
username = glance
password = GLANCE_PASS
endpoint_id = 340be3625e9b4239a6415d034e98aace
[paste_deploy]
flavor = trusted-auth
config_file =
[oslo_policy]
enforce_new_defaults = true
enforce_scope = true
[oslo_messaging_notifications]
driver = messagingv2
driver = log
topics = notifications
[oslo_messaging_rabbit]
rabbit_quorum_queue = true
ssl = false
[oslo_middleware]
enable_proxy_headers_parsing = true
[key_manager]
backend = barbican
[barbican]
barbican_endpoint_type = internal
verify_ssl = true
number_of_retries = 60
send_service_user_token = true
[healthcheck]
path = /healthcheck
detailed = false
backends = disable_by_file
disable_by_file_path = /etc/glance/healthcheck_disable
[wsgi]
task_pool_threads = 16
[image_format]
vmdk_allowed_types = streamOptimized,monolithicSparse
gpt_safety_checks_nonfatal = gptmbr
[image_import_opts]
image_import_plugins = [no_op]
[import_filtering_opts]
allowed_schemes = [http,https]
allowed_ports = [80,443]
[inject_metadata_properties]
ignore_user_roles = admin
inject = "prop1":"value1","prop2":"value2"
[oslo_reports]
log_dir = /tmp
[cinder]
"""
REGISTRY_2016 = """
[DEFAULT]
bind_host = 0.0.0.0
bind_port = 9191
log_file = /var/log/glance/registry.log
backlog = 4096
api_limit_max = 1000
limit_param_default = 25
enable_v1_registry = true
enable_v2_registry = true
owner_is_tenant = True
admin_role = admin
rpc_backend = rabbit
sql_connection = postgresql://glance:GLANCE_DBPASS@db/glance
sql_idle_timeout = 3600
[database]
slave_connection = postgresql://glance:GLANCE_DBPASS@replica/glance
max_retries = 10
retry_interval = 10
min_pool_size = 1
max_pool_size = 5
max_overflow = 10
pool_timeout = 30
connection_debug = 0
use_db_reconnect = false
[keystone_authtoken]
auth_uri = http://controller:5000
identity_uri = http://controller:35357
admin_tenant_name = service
admin_user = glance
admin_password = GLANCE_PASS
[paste_deploy]
flavor = keystone
[profiler]
enabled = False
[oslo_policy]
policy_file = policy.json
"""
SCRUBBER_2016 = """
[DEFAULT]
daemon = False
wakeup_time = 300
log_file = /var/log/glance/scrubber.log
registry_host = 0.0.0.0
registry_port = 9191
auth_url = http://controller:5000/v3
admin_tenant_name = service
admin_user = glance
admin_password = GLANCE_PASS
auth_strategy = keystone
scrub_time = 43200
scrub_pool_size = 2
delayed_delete = True
cleanup_scrubber = False
cleanup_scrubber_time = 86400
scrubber_datadir = /var/lib/glance/scrubber
[database]
connection = mysql+pymysql://glance:GLANCE_DBPASS@controller/glance
[glance_store]
stores = file,http
filesystem_store_datadir = {folder}
[oslo_concurrency]
lock_path = /var/lib/glance/tmp
"""


@pytest.mark.parametrize(
    ("prog", "text"),
    [
        ("glance-api", API_2016), ("glance-api", API_NOW), ("glance-registry", REGISTRY_2016),
        ("glance-scrubber", SCRUBBER_2016),
    ],
    ids=["api 2016", "api now", "registry 2016", "scrubber 2016"],
)
def test_cfg01_in_a_whole_file_of_a_site_nothing_is_wrong(tmp_path, prog, text):
    path = tmp_path / f"{prog}.conf"
    path.write_text(text.replace("{folder}", str(tmp_path)))
    options = next(each for each in entry_points(group="oslo.config.opts") if each.name == prog.replace("-", "_"))
    table = options.load()()
    conf = loading.load(prog, ["--config-file", str(path)], table)
    if prog != "glance-registry":
        stores = loader.store_opts(conf)
        loading.register(conf, stores)
        table = [*table, *stores]
    found = findings(conf, table)
    assert [each.text for each in found if each.is_wrong] == []
    assert all(": [" in each.text and "has no effect: " in each.text for each in found)
    lines = explained(conf, table)
    for group, opts in table:
        assert all(any(line.startswith(f"[{group}] {opt.dest} = ") for line in lines) for opt in opts)
    assert "GLANCE_DBPASS" not in "".join(lines)
    assert "GLANCE_PASS" not in "".join(lines)

