"""Choices of the configuration: one dataclass each, with its keys and its mathematics.

A choice, such as the loss ``psl``, is one class. Its fields are its keys::

    @LOSSES.add
    @dataclass(unsafe_hash=True)
    class Psl(Loss):
        name: str = "psl"
        activation: str = key("tanh", choices=ACTIVATIONS, doc="surrogate of a lead")

``loss=psl`` on the command line selects the class, and with it these keys and no
others. Checks, tables of keys and ``--help`` are made from the declarations.
"""

import copy
import dataclasses
import functools
import json
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from numbers import Real
from typing import (
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    TypeVar,
    cast,
    dataclass_transform,
    get_type_hints,
)

from twotower_jax.errors import InputError, unknown
from twotower_jax.lazy import jax

T = TypeVar("T")
Entry = TypeVar("Entry")
_KEY, _DECIDES, _WORDS = "key", "decides", "words"
# Whether a key decides a number of the run, given all values by dotted key.
Decides = bool | Callable[[Mapping[str, Any]], bool]
GROUP = f"{__package__}.choices"  # of entry points
PLAIN = (str, bool, int, type(None))  # values of keys that are no numbers
LONGEST = 200  # characters of a name
TURN = threading.RLock()  # Hydra has one state in a process: threads take turns
HIGHEST = 1e30  # a float32 holds it, and a multiple of it


class Registry(dict[str, Entry]):
    """A dictionary {name: choice} that knows the key which selects from it."""

    def __init__(self, key: str, choices: dict[str, Entry] | None = None):
        super().__init__(choices or {})
        self.key = key

    def __missing__(self, name: str) -> Entry:
        raise unknown(self.key, name, self)


C = TypeVar("C", bound="Choice")
D = TypeVar("D", bound="Choice")


class Choices(Registry[type[C]], Generic[C]):
    """The classes of a section of the configuration, by the name that selects them.

    With ``common`` the choices share their keys and defaults, so that no value follows
    from the choice; arms of a study may then name another choice and keep the values.
    """

    def __init__(self, key: str, *, common: bool = False):
        super().__init__(key)
        self.common = common

    def __missing__(self, name: str) -> type[C]:
        load_installed()
        return self.get(name) or super().__missing__(name)

    @property
    def section(self) -> str:
        """Dotted name of the section, such as ``loss`` or ``negatives.hard``."""
        return self.key.rpartition(".")[0]

    @property
    def group(self) -> str:
        """Name of the group on the command line, such as ``negatives/hard``."""
        return self.section.replace(".", "/")

    @property
    def tag(self) -> str:
        """Name of the field that holds the name of the choice."""
        return self.key.rpartition(".")[2]

    def add(self, choice: type[D]) -> type[D]:
        """Register a dataclass under the default of its field ``tag``."""
        self[getattr(choice, self.tag)] = cast(Any, choice)
        return choice

    def of(self, values: Any, otherwise: type[C]) -> type[C]:
        """The class that the values of a section name; ``otherwise`` without a name."""
        return self[values[self.tag]] if values.get(self.tag) else otherwise


@dataclasses.dataclass(unsafe_hash=True)
class Choice:
    """Base of all choices: checks its values, and that its name is its own."""

    choices: ClassVar[Any]

    def __post_init__(self) -> None:
        known, own = self.choices, type(self)
        name = getattr(self, known.tag)
        if name != getattr(own, known.tag):
            known[name]  # an unknown name
            word = f"{known.group}={name}"
            raise InputError(
                f"{known.key}={name} is written {word}, which brings the keys of that "
                "choice"
            )
        check_keys(self, known.section)


def split(choice: T) -> tuple[T, dict[str, Any]]:
    """The static part of a choice, without numbers and sections, and its numbers.

    Arms of a sweep that differ in numbers alone have equal static parts, and so share
    one compiled program. A number is an array, or a float unless it has the value that
    its key declares to compute nothing.
    """
    static, numbers = copy.copy(choice), {}
    keys = {item.name: declared(item) for item in dataclasses.fields(cast(Any, choice))}
    for name, value in vars(choice).items():
        made = keys.get(name)
        if made is not None and not made.traced:
            pass
        elif isinstance(value, float):
            if made is not None and value == made.neutral:
                continue
            numbers[name] = value
        elif not isinstance(value, PLAIN) and not dataclasses.is_dataclass(value):
            numbers[name] = value
        elif isinstance(value, PLAIN):
            continue
        setattr(static, name, None)
    return static, numbers


def join(static: T, numbers: dict[str, Any]) -> T:
    """The choice with numbers, which may be arrays, in place of its own."""
    whole = copy.copy(static)
    for name, value in numbers.items():
        setattr(whole, name, value)
    return whole


def as_tree(choice: T, number: Callable[[Any], Any]) -> T:
    """The choice as a tree of JAX: its leaves are its numbers, made arrays."""
    _register_tree(type(choice))
    static, numbers = split(choice)
    return join(static, jax.tree.map(number, numbers))


@functools.cache
def _register_tree(kind: type) -> None:
    def flatten(choice: Any) -> tuple[Any, tuple[Any, Any]]:
        static, numbers = split(choice)
        return numbers.values(), (static, tuple(numbers))

    def unflatten(form: tuple[Any, Any], numbers: Any) -> Any:
        static, names = form
        return join(static, dict(zip(names, numbers, strict=True)))

    jax.tree_util.register_pytree_node(kind, flatten, unflatten)


@functools.cache
def load_installed() -> dict[str, str]:
    """Import the choices of other packages, the entry points of `GROUP`.

    Returns {package: version}, for the record of a run.
    """
    from importlib.metadata import entry_points  # on use: 15 ms of every start

    versions = {}
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # of any kind: the code is the package's
            raise InputError(
                f"{point.value}, which registers {point.name} for twotower_jax, cannot "
                f"be imported: {error!r}; mend or uninstall that package"
            ) from error
        if point.dist is not None:
            versions[point.dist.name] = point.dist.version
    return versions


# --- keys -----------------------------------------------------------------------------


class Key(NamedTuple):
    """Allowed values, meaning and example of one key.

    The allowed values of a list or a dictionary are those of each of its parts.
    """

    doc: str  # the meaning in one line, with the unit and the meaning of null
    # another value than the default as the command line writes it, or all words of a
    # command where it needs others; "": another choice, or another number
    example: str = ""
    low: float | None = None  # the lowest value allowed, or None
    high: float | None = None  # the highest value allowed, or None
    above: float | None = None  # a lower bound that is not itself allowed, or None
    choices: tuple[str, ...] = ()  # the names allowed; () for any
    training: bool = False  # whether the value is a share of the training, below 1
    # the number that computes nothing, such as a factor of 1
    neutral: float | None = None
    traced: bool = True  # whether the compiled step reads the value

    def allowed(self) -> str:
        """Return the allowed values in words, "" where any value of the type is."""
        if self.choices:
            return ", ".join(self.choices)
        if self.training:
            return f"{self._replace(training=False).allowed()}, below 1"
        if self.above is not None:
            return f"above {_short(self.above)}"
        if self.low is None:
            return ""
        if self.high is None:
            return f"at least {_short(self.low)}"
        return f"{_short(self.low)} to {_short(self.high)}"

    def words(self, name: str, default: Any, before: str = "") -> list[str]:
        """Return the words of a command that sets the key to another value.

        ``before`` are those with which it has an effect (`words_of`).
        """
        if "=" in self.example:
            return shlex.split(self.example)
        value = self.example
        if not value and isinstance(default, bool):
            value = str(not default).lower()
        elif not value and default and isinstance(default, int | float):
            value = str(2 * default) if isinstance(default, int) else f"{default / 2:g}"
        if not value:
            value = next((choice for choice in self.choices if choice != default), "")
        return [*shlex.split(before), f"{name}={value}"] if value else []

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for a number or a name that is not allowed."""
        if self.choices:
            check_choice(name, value, self.choices)
        if self.training and value >= 1:  # a number of steps, perhaps
            raise InputError(
                f"{name}={value} is now a share of the training; give a value below 1, "
                "such as 0.1 for a tenth of its steps"
            )
        low = self.low if self.above is None else self.above
        if low is None:
            return
        if not issubclass(type(value), Real):
            raise InputError(f"{name}: {value!r} is not a number; give numbers")
        high = HIGHEST if self.high is None else self.high
        fits = low < value if self.above is not None else low <= value
        if not (fits and value <= high and value < HIGHEST):
            span = f"above {low}" if self.above is not None else f"at least {low}"
            if self.high is not None:
                span = f"between {low} and {self.high}"
            elif value >= HIGHEST:
                span += " and below 1e30"
            raise InputError(f"{name}={value} is out of range; give a value {span}")


def _short(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def key(default: T, *, doc: str, decides: Decides | None = None, **rules: Any) -> T:
    """Return the dataclass field that declares a key, typed as its default.

    Args:
      default: its default; a dictionary is copied for each configuration.
      doc: the meaning in one line, with the unit and the meaning of null.
      decides: whether its value decides any number of the run; or a function of all
        values by dotted key that says so, for a key that another one turns off; None:
        ``in_use`` of its class, by default True. Runs that differ in other keys alone
        are the same arm.
      rules: the other fields of `Key`.
    """
    metadata = {_KEY: Key(doc, **rules), _DECIDES: decides}
    if isinstance(default, dict):
        field = dataclasses.field(default_factory=default.copy, metadata=metadata)
    else:
        field = dataclasses.field(default=default, metadata=metadata)
    return cast(T, field)


def tag(name: str, *, words: str = "") -> str:
    """Return the field of a choice that holds its name.

    ``words`` of a command choose it with an effect, where its name alone has none.
    """
    return cast(str, dataclasses.field(default=name, metadata={_WORDS: words}))


def words_of(kind: type, name: str = "") -> str:
    """Return the words of a command that choose a class, or one that declares a key.

    They are "" of a base, whose keys are those of several choices.
    """
    declare = (c for c in kind.__mro__ if name in vars(c).get("__annotations__", ()))
    made = next(declare) if name else kind
    if not issubclass(made, Choice):
        return vars(made).get(_WORDS, "")
    chosen = next(f for f in dataclasses.fields(made) if f.name == made.choices.tag)
    own = f"{made.choices.group}={chosen.default}" if chosen.default else ""
    return chosen.metadata.get(_WORDS) or own


def section(make: Callable[[], T], *, decides: Decides | None = None) -> T:
    """Return the dataclass field of a section; ``decides`` is that of all its keys."""
    metadata = {_DECIDES: decides}
    return cast(T, dataclasses.field(default_factory=make, metadata=metadata))


def rule_of(item: dataclasses.Field[Any], owner: type) -> Decides:
    """Return when a field of a class decides a number: its rule, or its class's."""
    rule = item.metadata.get(_DECIDES)
    return getattr(owner, "in_use", True) if rule is None else rule


def decides(
    item: dataclasses.Field[Any], owner: type, values: Mapping[str, Any]
) -> bool:
    """Return whether a key, or a section, decides a number of a run of these values."""
    rule = rule_of(item, owner)
    try:
        return bool(rule(values)) if callable(rule) else rule
    except TypeError:  # a value of another type, in the record of a run
        return True


def declared(item: dataclasses.Field[Any]) -> Key | None:
    """Return the declaration of a field; None for a section."""
    return item.metadata.get(_KEY)


def default_of(item: dataclasses.Field[Any]) -> Any:
    """Return the default of a field, which of a section is a new one."""
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


@functools.cache
def sections(kind: type) -> dict[str, type]:
    """Return {name of the field: its dataclass} of the sections of a dataclass."""
    return {
        name: hint
        for name, hint in get_type_hints(kind).items()
        if isinstance(hint, type) and dataclasses.is_dataclass(hint)
    }


def to_dict(section: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of plain values.

    Examples:
      >>> from twotower_jax.config import Config
      >>> to_dict(Config())["evaluation"]["k"]
      [10, 20, 50, 100]
    """
    return json.loads(json.dumps(dataclasses.asdict(section)))


def check_keys(section: Any, name: str) -> None:
    """Check every value that a section declares; its lists become tuples.

    A null value passes: whether null is allowed is a matter of the type. ``name`` is
    the dotted name of the section, such as ``data.simulator``; "" for the root.
    """
    prefix = f"{name}." if name else ""
    for item in dataclasses.fields(section):
        made, value = declared(item), getattr(section, item.name)
        key = f"{prefix}{item.name}"
        if isinstance(item.default, tuple):
            value = tuple(value)
            setattr(section, item.name, value)
        if made is None or value is None:
            continue
        if isinstance(value, dict):
            for part, kind in value.items():
                made.check(f"{key}.{part}", kind)
        else:
            for part in value if isinstance(value, tuple) else (value,):
                made.check(key, part)


@dataclass_transform(eq_default=False)
def keys_of(name: str, words: str = "") -> Callable[[type[T]], type[T]]:
    """Decorator of the dataclass of a section, whose values are checked when made.

    ``name`` is as of `check_keys`, and ``words`` of a command let its keys have an
    effect. ``__post_init__`` of the class has further checks.
    """

    def declare(section: type[T]) -> type[T]:
        further = section.__dict__.get("__post_init__", lambda self: None)

        def post_init(self: Any) -> None:
            check_keys(self, name)
            further(self)

        section.__post_init__ = post_init  # type: ignore[attr-defined]
        setattr(section, _WORDS, words)
        hashed = "__hash__" in vars(section)
        return dataclasses.dataclass(unsafe_hash=not hashed)(section)

    return declare


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a name that is not one of the choices, which the message lists."""
    if value not in choices:
        raise unknown(key, value, choices)


def check_local(key: str, path: str) -> None:
    """Refuse the address of a server, such as https://... or s3://..., as a path."""
    if re.match(r"[A-Za-z][\w+.-]+://", path):
        raise InputError(
            f"{key}={path} is an address, and files are read from a disk; download it, "
            "and give the path of the file"
        )


def check_inside(key: str, path: str) -> None:
    """Refuse a name whose path is not inside the folder that it is joined to."""
    plain = path.isprintable() and "\\" not in path and len(path) <= LONGEST
    if not plain or any(part in ("", ".", "..") for part in path.split("/")):
        shown = path if len(path) <= 60 else f"{path[:60]}..."
        raise InputError(
            f"{key}={shown!r} leads out of its folder or cannot be one; give one such "
            f"as first or study/first, of at most {LONGEST} characters"
        )
