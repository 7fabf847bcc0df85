"""The site: `sphinx-build -W -n docs docs/_build`. Each page is plain Markdown, and reads as such too."""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import flask_invitations

ROOT = Path(__file__).parent

project = "flask-invitations"
author = copyright = "flask-invitations contributors"  # noqa: A001 - what Sphinx calls it
version = release = installed("flask-invitations")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
html_theme = "furo"
html_title = f"flask-invitations {version}"

# Signatures name what a reader can import. The aliases are unions of an enum and its texts.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    "StatusValue": "flask_invitations.Status",
    "EventTypeValue": "flask_invitations.EventType",
    "DeliveryStateValue": "flask_invitations.DeliveryState",
}
python_maximum_signature_line_length = 88
# Nothing is fetched while the site is built, so other projects' names are no links.
nitpick_ignore_regex = [(r"py:.*", r"(?!flask_invitations\b).*")]
# Their names are private. What they can do is told where they are returned.
nitpick_ignore = [
    ("py:class", "flask_invitations.store.frames.Block"),
    ("py:class", "flask_invitations.model.binding.Models"),
]


def link_public_names(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Public names are documented where they are imported from, not where they are defined."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in flask_invitations.__all__:
        return None
    domain, target = env.get_domain("py"), f"flask_invitations.{name}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "class", target, node, content)


def hand_out_what_is_outside(app: Any, docname: str, source: list[str]) -> None:
    """What is outside of docs/ is no page of the site, so a link to a file there offers the file, and to a folder is
    none."""

    def offered(link: re.Match[str]) -> str:
        target = (ROOT / docname).parent.joinpath(link[2]).resolve()
        if target.is_relative_to(ROOT):
            return link[0]
        return f"`{link[1]}`" if target.is_dir() else f"{{download}}`{link[1]} <{link[2]}>`"

    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)", offered, source[0])


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", hand_out_what_is_outside)
    app.connect("missing-reference", link_public_names)
