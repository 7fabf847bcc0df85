"""Our templates, by Jinja's own rules: whatever the host has changed about its environment, they mean what they say.

A host may change the delimiters, what is escaped, what an undefined name does, or a filter. That is right for the
host's templates. Ours would turn into emails that show their source, and into pages that show names as markup.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from flask import Flask
from jinja2 import (
    BaseLoader,
    BytecodeCache,
    Environment,
    PackageLoader,
    Template,
    TemplateNotFound,
    select_autoescape,
)
from jinja2.bccache import Bucket
from jinja2.ext import Extension

#: What lies under this name is ours, or the host's in place of it. Everything else is the host's.
OURS = "invitations/"
#: Under this name it is ours in any case: so a file of the host's can extend the one that it takes the place of.
ORIGINAL = f"{__package__}/"


class _Loader(BaseLoader):
    """Ours from where the host's templates lie, or else from this package. The host's own, such as a layout that a
    template in place of ours extends, come as the host has them."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._package = PackageLoader(__package__)

    def load(self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None) -> Template:  # noqa: A002 - Jinja's name
        if name.startswith((OURS, ORIGINAL)):
            return super().load(environment, name, globals)
        return self._app.jinja_env.get_template(name)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        if not template.startswith(ORIGINAL):
            for loader in (self._app.jinja_env.loader, self._app.create_global_jinja_loader()):
                # The host's may know nothing of blueprints, or have no sources, since everything is compiled.
                with suppress(TemplateNotFound, RuntimeError):
                    if loader is not None:
                        return loader.get_source(self._app.jinja_env, template)
        return self._package.get_source(self._app.jinja_env, OURS + template.partition("/")[2])


class _Apart(BytecodeCache):
    """The host's cache of compiled templates, if it has one. Under names of our own: the same template compiled by the
    host's rules is another thing."""

    def __init__(self, hosts: BytecodeCache) -> None:
        self._hosts = hosts

    def get_bucket(self, environment: Environment, name: str, filename: str | None, source: str) -> Bucket:
        return self._hosts.get_bucket(environment, f"{__package__}:{name}", filename, source)

    def load_bytecode(self, bucket: Bucket) -> None:
        self._hosts.load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._hosts.dump_bytecode(bucket)


def environment(app: Flask) -> Environment:
    """The environment of the templates under ``invitations/``.

    The host's globals, filters, tests and tags can be used there, and none of them takes the place of one of Jinja's.
    """
    hosts = app.jinja_env
    ours = Environment(
        autoescape=select_autoescape(default_for_string=True),
        auto_reload=hosts.auto_reload,
        bytecode_cache=_Apart(hosts.bytecode_cache) if hosts.bytecode_cache else None,
        loader=_Loader(app),
    )
    for kind in ("filters", "tests", "globals"):
        setattr(ours, kind, ChainMap(getattr(ours, kind), getattr(hosts, kind)))
    # What an extension has put on the environment (its settings), and the extension itself if it only adds tags.
    vars(ours).update({name: value for name, value in vars(hosts).items() if name not in vars(ours)})
    ours.extensions = {name: each.bind(ours) for name, each in hosts.extensions.items() if _only_adds(each)}
    return ours


def _only_adds(extension: Extension) -> bool:
    """Whether an extension leaves the source of a template as it is."""
    kind = type(extension)
    return (kind.preprocess, kind.filter_stream) == (Extension.preprocess, Extension.filter_stream)
