"""The options that requests need, read once: a request never looks into the options object."""

from dataclasses import dataclass
from typing import Self

from oslo_config import cfg

from glance_api.formats import FormatRules


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of the options of the same names (``config.py``); sizes in bytes, times in seconds.

    ``format_rules`` holds the options of ``[image_format]`` that the inspection of data needs; ``multi_store`` says
    whether the stores were named by ``enabled_backends``: only then clients see store ids.
    """

    public_endpoint: str | None
    limit_param_default: int
    api_limit_max: int
    max_json_body: int
    image_member_quota: int
    image_property_quota: int
    image_tag_quota: int
    show_image_direct_url: bool
    show_multiple_locations: bool
    allow_additional_image_properties: bool
    container_formats: tuple[str, ...]
    disk_formats: tuple[str, ...]
    image_size_cap: int
    hashing_algorithm: str
    format_rules: FormatRules
    delayed_delete: bool
    scrub_time: int
    multi_store: bool

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """Read the options; they have been checked at the start."""
        formats = conf.image_format
        return cls(
            public_endpoint=conf.public_endpoint,
            limit_param_default=conf.limit_param_default,
            api_limit_max=conf.api_limit_max,
            max_json_body=conf.max_json_body,
            image_member_quota=conf.image_member_quota,
            image_property_quota=conf.image_property_quota,
            image_tag_quota=conf.image_tag_quota,
            show_image_direct_url=conf.show_image_direct_url,
            show_multiple_locations=conf.show_multiple_locations,
            allow_additional_image_properties=conf.allow_additional_image_properties,
            container_formats=tuple(formats.container_formats),
            disk_formats=tuple(formats.disk_formats),
            image_size_cap=conf.image_size_cap,
            hashing_algorithm=conf.hashing_algorithm,
            format_rules=FormatRules(
                require_match=formats.require_image_format_match,
                vmdk_types=tuple(formats.vmdk_allowed_types),
                nonfatal_checks=tuple(formats.gpt_safety_checks_nonfatal),
            ),
            delayed_delete=conf.delayed_delete,
            scrub_time=conf.scrub_time,
            multi_store=bool(conf.enabled_backends),
        )
