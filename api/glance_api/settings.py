"""The options that requests need, read once: a request never looks into the options object."""

from dataclasses import dataclass
from typing import Self

from oslo_config import cfg

from glance_api.content.formats import FormatRules
from glance_api.imports.settings import ImportSettings
from glance_common.config import paste
from glance_common.config.loading import ConfigError
from glance_common.health_switches import HealthSwitches
from glance_common.model.pages import MAX_PAGE_ROWS


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of the options of the same names (``config.py``); sizes in bytes, times in seconds.

    ``store_type_preference`` is empty unless ``location_strategy`` uses it.

    ``format_rules`` holds the options of ``[image_format]`` that the inspection of data needs; ``multi_store`` says
    whether the stores were named by ``enabled_backends``: only then clients see store ids; ``imports`` holds the
    options of imports and tasks.
    """

    public_endpoint: str | None
    enable_v1_api: bool
    allow_anonymous_access: bool
    max_request_id_length: int
    health: HealthSwitches
    limit_param_default: int
    api_limit_max: int
    max_json_body: int
    max_image_document: int
    compress_documents: bool
    image_member_quota: int
    image_property_quota: int
    image_tag_quota: int
    image_location_quota: int
    store_type_preference: tuple[str, ...]
    use_keystone_limits: bool
    do_secure_hash: bool
    http_retries: int
    show_image_direct_url: bool
    show_multiple_locations: bool
    allow_additional_image_properties: bool
    schema_image_file: str | None
    container_formats: tuple[str, ...]
    disk_formats: tuple[str, ...]
    image_size_cap: int
    verify_downloads: str
    hashing_algorithm: str
    compute_checksum: bool
    format_rules: FormatRules
    delayed_delete: bool
    scrub_time: int
    multi_store: bool
    imports: ImportSettings

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """Read the options, whose values have been checked. Raises ConfigError for a named file that is missing."""
        formats = conf.image_format
        return cls(
            public_endpoint=conf.public_endpoint,
            enable_v1_api=conf.enable_v1_api,
            allow_anonymous_access=conf.allow_anonymous_access,
            max_request_id_length=conf.max_request_id_length,
            health=HealthSwitches.from_conf(conf, paste.read(conf).health_options(), conf.bind_port),
            limit_param_default=conf.limit_param_default,
            api_limit_max=min(conf.api_limit_max, MAX_PAGE_ROWS),
            max_json_body=conf.max_json_body,
            max_image_document=conf.max_image_document,
            compress_documents=conf.compress_documents,
            image_member_quota=conf.image_member_quota,
            image_property_quota=conf.image_property_quota,
            image_tag_quota=conf.image_tag_quota,
            image_location_quota=conf.image_location_quota,
            store_type_preference=_store_type_preference(conf),
            use_keystone_limits=conf.use_keystone_limits,
            do_secure_hash=conf.do_secure_hash,
            http_retries=conf.http_retries,
            show_image_direct_url=conf.show_image_direct_url,
            show_multiple_locations=conf.show_multiple_locations,
            allow_additional_image_properties=conf.allow_additional_image_properties,
            schema_image_file=_schema_image_file(conf),
            container_formats=tuple(formats.container_formats),
            disk_formats=tuple(formats.disk_formats),
            image_size_cap=conf.image_size_cap,
            verify_downloads=conf.verify_downloads,
            hashing_algorithm=conf.hashing_algorithm,
            compute_checksum=conf.compute_checksum,
            format_rules=FormatRules(
                require_match=formats.require_image_format_match,
                vmdk_types=tuple(formats.vmdk_allowed_types),
                nonfatal_checks=tuple(formats.gpt_safety_checks_nonfatal),
            ),
            delayed_delete=conf.delayed_delete,
            scrub_time=conf.scrub_time,
            multi_store=bool(conf.enabled_backends),
            imports=ImportSettings.from_conf(conf),
        )


def _store_type_preference(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    if conf.location_strategy != "store_type":
        return ()
    return tuple(conf.store_type_location_strategy.store_type_preference)


def _schema_image_file(conf: cfg.ConfigOpts) -> str | None:
    """Return the path of the file, None when the one with the default name does not exist."""
    path: str | None = conf.find_file(conf.schema_image_file)
    found = conf.get_location("schema_image_file")
    is_named = found is not None and found.location not in (cfg.Locations.opt_default, cfg.Locations.set_default)
    if path is None and is_named:
        raise ConfigError("DEFAULT", "schema_image_file", conf.schema_image_file, "there is no such file")
    return path
