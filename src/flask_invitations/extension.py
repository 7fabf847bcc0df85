"""``Invitations``: checks what the host says, builds the app's state, registers the three faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flask import Blueprint, Flask
from jinja2 import Template

from . import acts, config, conventions, defaults, hooks, shapes, templating
from .cli import cli
from .context import Context, log
from .current import Late, State, bind, get_state, refuse_second, too_late
from .errors import ConfigurationError
from .gate import Giving, Word
from .hooks import Given, Hooks, HookTable
from .languages.babel import languages
from .limits import Limiter, Limits
from .mail.smtp import SMTPMailer
from .many import ManyCalls
from .model import binding
from .model.binding import Models
from .replies import House
from .spelling import meant
from .store.invitations import Store
from .tokens import Blinder, Mint, Pseudonyms, maker
from .web.api import api
from .web.desk_many import desk
from .web.faces import hide
from .web.pages import pages

if TYPE_CHECKING:
    from typing_extensions import Unpack

C = TypeVar("C")

#: What a decorator is given where somebody called it.
_NOTHING: Any = object()


class Invitations(HookTable, Giving, ManyCalls):
    """The extension object: create it once, call :meth:`init_app` for each app.

    It holds nothing but hooks given by decorator; everything else lives with the app. Every hook of
    :meth:`init_app` is a decorator too, to be used before ``init_app``. A factory that decorates may be called again:
    each ``init_app`` takes what was given last::

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
        self._late = Late()
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
        _refuse_taken(app, settings)
        in_forms = settings.pages_prefix is not None
        profile = said["profile_schema"] = shapes.profile_of(said.get("profile_schema"), in_forms=in_forms)
        bound = binding.bind(said["user_model"], said.get("tenant_model"))
        pseudonyms = Pseudonyms(settings.secret_keys)
        store = Store(session, bound, maker(settings.secret_keys, settings.accept_url), pseudonyms)
        house = House(bound, session, settings.roles, partial(_as_json, app))
        conventions.check(house, settings, said, shapes.profile_keys(profile), db)
        complete = defaults.complete(app, settings, store, house, said)
        words = Hooks(house, complete, partial(shapes.load_profile, profile), shapes.profile_names(profile))
        ctx = Context(
            config=settings,
            hooks=words,
            models=bound,
            store=store,
            mint=Mint(settings.secret_keys),
            pseudonyms=pseudonyms,
            limits=Limits(_limiter(app, settings), words.rate_limit, words.limits_for),
            language=languages(app),
            forbids=acts.forbidden,
            template=_templates(app),
            hide=hide,
            sender=app,
        )
        bodies = shapes.invite_body(settings), shapes.list_query(settings)
        late = Late()
        _register(app, settings)
        bind(app, State(ctx, *bodies, profile_schema=profile, late=late))
        self._late.names.clear()
        self._late = late
        self._bound.append(bound)
        _compare(said["mailer"], settings)

    def _read(self, word: Word) -> Callable[[C], C]:
        def decorate(given: Any = _NOTHING) -> Any:
            name = word.name
            if given is _NOTHING:
                raise ConfigurationError(f"{name} is a decorator. Write @invitations.{name}, without parentheses.")
            if self._bound and name not in self._decorated:
                raise ConfigurationError(too_late(name))
            word.check(given)
            self._decorated[name] = given
            if self._bound and not self._late.over:
                self._late.names.append(name)
            return given

        decorate.__name__, decorate.__doc__ = word.name, word.__doc__
        return decorate

    @property
    def models(self) -> Models:
        """The mapped classes ``Invitation``, ``InvitationEvent``, ``Delivery`` and ``Suppression`` of the current app
        (or, outside of an app context, of the only set there is).

        :raises RuntimeError: no app context, and no ``init_app`` yet or several hosts.
        """
        distinct = {id(each): each for each in self._bound}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        return get_state().ctx.models


def _check(db: Any, given: Mapping[str, Any]) -> Callable[[], Any]:
    """Refuse what cannot work before anything is built; returns how to get at the host's session."""
    for name in sorted(given.keys() - hooks.TABLE):
        raise ConfigurationError(f"{name} is not a hook.{meant(name, hooks.TABLE)} See docs/hooks.md for the names.")
    if not hasattr(type(db), "session") and not hasattr(db, "session"):  # Lite's property needs an app context
        raise ConfigurationError("db is missing. Pass your SQLAlchemy() object, as in init_app(app, db, ...).")
    for name in ("user_model", "mailer"):
        if name not in given:
            raise ConfigurationError(f"{name} is missing. Pass it to init_app.")
    for name in ("user_model", "tenant_model"):
        binding.check_mapped(name, given.get(name))
    for name, hook in given.items():
        hooks.TABLE[name].check(hook)
    return partial(_session, db)


def _session(db: Any) -> Any:
    """The session itself, of which a host may have given us a registry."""
    given = db.session
    try:
        registry = given.registry
    except AttributeError:
        return given
    return registry()


def _as_json(app: Flask, value: Any) -> bytes:
    """The body that the app would answer, whatever makes its JSON by then."""
    answer: Any = app.json.response(value)
    body: bytes = answer.get_data()
    return body


def _templates(app: Flask) -> Callable[[str], Template]:
    """The templates, by their names; the host can still change its own environment until one is asked for."""
    environment = cache(partial(templating.environment, app))
    return lambda name: environment().get_template(templating.OURS + name)


def _compare(mailer: Any, settings: config.Config) -> None:
    """Say it where a worker may still be sending an email that another one sends again."""
    if isinstance(mailer, SMTPMailer) and mailer.timeout >= settings.delivery_lease.total_seconds():
        log.warning(
            "The timeout of SMTPMailer, %s seconds, is not below INVITATIONS_DELIVERY_LEASE. "
            "Lower it, or emails may be sent twice.",
            mailer.timeout,
        )


def _limiter(app: Flask, settings: config.Config) -> Limiter:
    """What counts for this app. Say it where each process would count for itself."""
    limiter = Limiter(
        settings.ratelimit_storage, settings.ratelimits, Blinder(settings.secret_keys[0], settings.accept_url)
    )
    if limiter.forgets and any(settings.ratelimits.values()) and not (app.debug or app.testing):
        log.warning(
            "Rate limits are counted in memory: in each process on its own, and anew after a restart. "
            "Set INVITATIONS_RATELIMIT_STORAGE to a Redis server, for example."
        )
    return limiter


def _faces(settings: config.Config) -> Iterator[tuple[Blueprint, str]]:
    """What is registered, and where."""
    yield api, settings.api_prefix
    if settings.pages_prefix is not None:
        yield pages, settings.pages_prefix
        yield desk, settings.pages_prefix


def _refuse_taken(app: Flask, settings: config.Config) -> None:
    """:raises ConfigurationError: the host uses a name of ours, and one of us would be out of reach."""
    for face, _ in _faces(settings):
        if face.name in app.blueprints:
            raise ConfigurationError(
                f"A blueprint of yours is named {face.name!r}, as one of ours. Give yours another name, "
                f"as in app.register_blueprint(yours, name='my_{face.name}')."
            )
    if cli.name in app.cli.commands:
        raise ConfigurationError(
            f"A command of yours is named {cli.name!r}, as ours. Give yours another name, as in "
            f"AppGroup('my-{cli.name}')."
        )


def _register(app: Flask, settings: config.Config) -> None:
    for face, prefix in _faces(settings):
        app.register_blueprint(face, url_prefix=prefix)
    app.cli.add_command(cli)
