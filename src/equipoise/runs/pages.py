"""Pages: HTML files that need nothing else, from templates that share one look."""

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from equipoise.version import __version__


def rendered(template: str, **content: Any) -> bytes:
    """A page from a template of this folder, in UTF-8, with the version and the time of writing."""
    environment = Environment(
        loader=PackageLoader("equipoise.runs", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        environment.get_template(template)
        .render(version=__version__, written=now, **content)
        .encode("utf-8", "replace")
    )
