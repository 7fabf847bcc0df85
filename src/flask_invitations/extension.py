"""``Invitations``: checks what the host says, builds the app's state, registers the three faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flask import Flask
from marshmallow import Schema

from . import acts, config, defaults, hooks, shapes
from .calls import Calls
from .cli import cli
from .context import Context
from .current import State, bind, get_state, refuse_second
from .errors import ConfigurationError
from .gate import Giving, Word
from .hooks import Given, Hooks, HookTable
from .languages.babel import languages
from .model import binding
from .model.binding import Models
from .store.invitations import Store
from .tokens import Mint, maker
from .web.api import api
from .web.desk import desk
from .web.pages import pages

if TYPE_CHECKING:
    from typing_extensions import Unpack

C = TypeVar("C")


class Invitations(HookTable, Giving, Calls):
    """The extension object: create it once, call :meth:`init_app` for each app.

    It holds nothing but hooks given by decorator; everything else lives with the app. Every hook of
    :meth:`init_app` is a decorator too, to be used before ``init_app``::

        invitations = Invitations()

        @invitations.on_accepted
        def sign_in(user, invitation):
            login_user(user)

    The acts (:meth:`invite`, :meth:`accept`, ...) need an app context. Each is one transaction on the host's session,
    which it commits together with what the host left unsaved there. Inside ``with invitations.unit():`` the acts join
    the host's own transaction.
    """

    @overload
    def __init__(self) -> None: ...
    @overload
    def __init__(self, app: Flask, db: Any, **given: Unpack[Given]) -> None: ...
    def __init__(self, app: Flask | None = None, db: Any = None, **given: Any) -> None:
        self._decorated: dict[str, Any] = {}
        self._bound: list[Models] = []
        if app is not None:
            self.init_app(app, db, **given)
        elif db is not None or given:
            raise ConfigurationError(
                "Invitations(app, db, ...) needs the app too. You can also pass everything to init_app."
            )

    def init_app(self, app: Flask, db: Any = None, **given: Unpack[Given]) -> None:
        """Set up invitations on ``app``.

        :param db: Flask-SQLAlchemy's object, or anything with a ``session`` on the host's models.
        :param user_model: the host's mapped class of users; single primary key of type int, UUID or str.
        :param mailer: ``(Message) -> None``; raising means not sent, to be tried again.
        :param given: besides, any of the optional hooks; the decorator of the same name says what each is for.
        :raises ConfigurationError: a hook or setting is missing or wrong; the message tells which and the fix.
        """
        refuse_second(app)
        said = {**self._decorated, **{name: hook for name, hook in given.items() if hook is not None}}
        session = _check(db, said)
        settings = config.read(app.config, app.name)
        profile = said["profile_schema"] = shapes.profile_of(said.get("profile_schema"))
        bound = binding.bind(said["user_model"], said.get("tenant_model"))
        store = Store(session, bound, maker(settings.secret_keys, settings.accept_url))
        complete = defaults.complete(app, settings, store, said)
        ctx = Context(
            config=settings,
            hooks=Hooks(complete, partial(_load, profile), shapes.profile_names(profile)),
            models=bound,
            store=store,
            mint=Mint(settings.secret_keys),
            language=languages(app),
            forbids=acts.forbidden,
            render=lambda name, language, **words: app.jinja_env.get_template(name).render(**language.words(), **words),
            sender=app,
        )
        bodies = shapes.invite_body(settings), shapes.list_query(settings)
        bind(app, State(ctx, *bodies, profile_schema=said["profile_schema"]))
        self._bound.append(bound)
        _register(app, settings)

    def _read(self, word: Word) -> Callable[[C], C]:
        def decorate(given: C) -> C:
            name = word.name
            if self._bound:
                raise ConfigurationError(
                    f"{name} was given after init_app. Decorate before init_app, or pass it to init_app."
                )
            word.check(given)
            self._decorated[name] = given
            return given

        decorate.__name__, decorate.__doc__ = word.name, word.__doc__
        return decorate

    @property
    def models(self) -> Models:
        """The mapped classes ``Invitation``, ``InvitationEvent`` and ``Delivery`` of the current app (or, outside of
        an app context, of the only set there is).

        :raises RuntimeError: no app context, and no ``init_app`` yet or several hosts.
        """
        distinct = {id(each): each for each in self._bound}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        return get_state().ctx.models


def _check(db: Any, given: Mapping[str, Any]) -> Callable[[], Any]:
    """Refuse what cannot work before anything is built; returns how to get at the host's session."""
    for name in sorted(given.keys() - hooks.TABLE):
        raise ConfigurationError(f"{name} is not a hook. See docs/hooks.md for the names.")
    if not hasattr(type(db), "session") and not hasattr(db, "session"):  # Lite's property needs an app context
        raise ConfigurationError("db is missing. Pass your SQLAlchemy() object, as in init_app(app, db, ...).")
    for name in ("user_model", "mailer"):
        if name not in given:
            raise ConfigurationError(f"{name} is missing. Pass it to init_app.")
    for name in ("user_model", "tenant_model"):
        binding.check_mapped(name, given.get(name))
    for name, hook in given.items():
        hooks.TABLE[name].check(hook)
    return lambda: db.session


def _load(schema: Schema, typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return shapes.load(schema, dict(typed))


def _register(app: Flask, settings: config.Config) -> None:
    app.register_blueprint(api, url_prefix=settings.api_prefix)
    if settings.pages_prefix is not None:
        app.register_blueprint(pages, url_prefix=settings.pages_prefix)
        app.register_blueprint(desk, url_prefix=settings.pages_prefix)
    app.cli.add_command(cli)
