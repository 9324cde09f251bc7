"""Words that Hydra refuses by errors of Python, which name no word and no remedy."""

import errno
import re
from collections.abc import Sequence

from twotower_jax.config.options import option_names
from twotower_jax.errors import InputError

COMPLETION = (
    "-sc (--shell-completion) takes one of install=SHELL, uninstall=SHELL and "
    "query=SHELL, SHELL being bash, fish or zsh, such as -sc install=bash"
)
# A part of the text of an error, and the message for it.
MESSAGES = {
    "Only one of": (
        "-m trains, and --cfg and --info only print; leave out -m to see the "
        "configuration of one run"
    ),
    "--resolve flag": (
        "--resolve prints the values of a configuration; add --cfg job, or leave it "
        "out to train"
    ),
    "Expecting one subcommand": COMPLETION,
    "No completion plugin": COMPLETION,
}
PLUGIN = re.compile(r"\+{0,2}hydra[./](launcher|sweeper)(\._target_)?=")
LONG = 200  # characters; a name of a file has at most 255 bytes


def refused(error: Exception, words: Sequence[str]) -> str:
    """Return the message for an error that Hydra raises about words.

    Examples:
      >>> refused(ValueError("Config group override must be"), ["=1"])
      '=1 has no key before its =; write key=value'
    """
    text = str(error)
    for part, message in MESSAGES.items():
        if part in text:
            return message
    if "Config group override" in text:
        return _no_group(words)
    if "Unexpected type for root" in text:
        named = " ".join(word for word in words if word.startswith("hydra."))
        return (
            f"{named}: adds to a section that is empty; a sweep takes its values as "
            "words, such as -m seed=0,1,2"
        )
    plugins = [word for word in words if PLUGIN.match(word)]
    about = "plugin" in text or "is not configured" in text or not text
    return _no_plugin(plugins) if plugins and about else ""


def _no_group(words: Sequence[str]) -> str:
    """Return the message for a word that gives a group no name of a file."""
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and not key.lstrip("+~").partition("@")[0]:
            return f"{word} has no key before its =; write key=value"
    named = [word for word in words if re.search(r"=(null|~|[-+.\d]+)$", word)]
    return (
        f"{' '.join(named or words)}: a group of the configuration takes the name of a "
        "file, not a number or null; leave the word out, or name one (twotower train "
        "--help lists them)"
    )


def _no_plugin(words: Sequence[str]) -> str:
    """Return the message for words that name no launcher or sweeper."""
    return (
        f"{' '.join(words)} names no launcher or sweeper of Hydra; leave it out, or "
        "name one by its file, such as hydra/launcher=fused or hydra/sweeper=select"
    )


def long_word(error: OSError, words: Sequence[str]) -> InputError | None:
    """Return why a word is unknown that is too long to be the name of a file.

    Returns:
      The error; None where another name was too long.
    """
    if error.errno != errno.ENAMETOOLONG:
        return None
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+~").partition("@")[0]
        if len(key) > LONG and key in str(error.filename):
            return InputError(
                f"unknown key {key}; twotower train --help lists keys and groups"
            )
        for one in value.split(","):
            if len(one) > LONG and one in str(error.filename) and option_names(key):
                return InputError(
                    f"{key}={one} is unknown; twotower train --help {key} lists the "
                    "choices"
                )
    return None
