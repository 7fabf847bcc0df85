"""Of tokens and of addresses."""

from __future__ import annotations

from collections.abc import Iterator

from .mutant import LEAKS, LOAD, PEOPLE, Mutant

TOKENS = ("tests/unit/test_tokens.py", "tests/hygiene/test_keys.py", "tests/hygiene/test_masks.py", LOAD, LEAKS)
TOKENS += (
    "tests/faults/test_secrets.py",
    "tests/faults/test_apps.py",
    "tests/pages/test_desk.py",
    "tests/acts/test_suppression.py",
)
ADDRESSES = ("tests/unit/test_addresses.py", PEOPLE, "tests/http/test_binding.py", "tests/faults/test_mailboxes.py")


def tokens() -> Iterator[Mutant]:
    file = "tokens.py"
    for old, new in (
        (
            "return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None",
            "return Token(text) if isinstance(text, str) else None",
        ),
        (
            "return Token(text) if isinstance(text, str) and _SHAPE.fullmatch(text) else None",
            "return Token(text) if isinstance(text, str) and _SHAPE.match(text) else None",
        ),
        ("return hashlib.sha256(self._bytes).hexdigest()", "return hashlib.md5(self._bytes).hexdigest()"),
        ("        return hashlib.sha256(self._bytes).hexdigest()", "        return self._bytes.decode()"),
        (
            "    def __repr__(self) -> str:\n        return _MASK",
            "    def __repr__(self) -> str:\n        return self.reveal()",
        ),
        (
            "    def __format__(self, spec: str) -> str:\n        return _MASK",
            "    def __format__(self, spec: str) -> str:\n        return self.reveal()",
        ),
        ("return type(self), (_MASK,)", "return type(self), (self.reveal(),)"),
        ("    return _RUN.sub(_MASK, text)", "    return _SHAPE.sub(_MASK, text)"),
        ("        nonce = secrets.token_bytes(32)\n", "        nonce = secrets.token_bytes(2)\n"),
        (
            "return nonce.hex(), self._sign(self._signers[0], nonce)",
            "return nonce.hex(), self._sign(self._signers[-1], nonce)",
        ),
        (
            "            if secrets.compare_digest(token.hash, token_hash):\n                return token\n        return None",
            "            return token\n        return None",
        ),
        ("        for signer in self._signers:\n", "        for signer in self._signers[:1]:\n"),
        ("return -self.AHEAD <= age <= self.MAX_AGE and secrets", "return age <= self.MAX_AGE and secrets"),
        ("return -self.AHEAD <= age <= self.MAX_AGE and secrets", "return -self.AHEAD <= age and secrets"),
        (" and secrets.compare_digest(made_for, self._fold(purpose).encode())", ""),
        ('        salt = f"{_FORM_SALT}:{whose}"\n', "        salt = _FORM_SALT\n"),
        ("list(reversed(keys))\n        salt = f", "list(keys)\n        salt = f"),
        ("list(reversed(keys))\n        self._signer", "list(keys)\n        self._signer"),
        ('address = f"{tenant_id}\\0{email_key}".encode()', 'address = f"{email_key}".encode()'),
        (
            "    return Maker(_short(accept_url.encode()), [_short(_derived(key)) for key in keys])",
            '    return Maker("", [_short(_derived(key)) for key in keys])',
        ),
        (
            "        except Exception:  # what cannot be looked at is not shown\n",
            "        except ZeroDivisionError:  # what cannot be looked at is not shown\n",
        ),
        ("    error = record.exc_info[1] if record.exc_info else None\n", "    error = None\n"),
    ):
        yield Mutant(file, old, new, TOKENS)


def addresses() -> Iterator[Mutant]:
    file = "addresses.py"
    for old, new in (
        ('    typed = unicodedata.normalize("NFC", text.strip())\n', "    typed = text.strip()\n"),
        ('    if len(typed.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:\n', "    if False:\n"),
        (
            '    local = unicodedata.normalize("NFC", parts.local_part.lower())\n',
            '    local = unicodedata.normalize("NFC", parts.local_part)\n',
        ),
        (
            '    local = unicodedata.normalize("NFC", parts.local_part.lower())\n',
            '    local = unicodedata.normalize("NFKC", parts.local_part.casefold())\n',
        ),
        ('    key = f"{local}@{parts.ascii_domain}"\n', '    key = f"{local}@{parts.domain}"\n'),
        ("    if len(local.encode()) > MAX_LOCAL or len(key.encode()) > MAX_ADDRESS:\n", "    if False:\n"),
        (
            '    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):\n',
            "    if domain not in (parts.domain, parts.ascii_domain):\n",
        ),
        (
            '    if "." not in domain or domain not in (parts.domain, parts.ascii_domain):\n',
            '    if "." not in domain:\n',
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _UNSEEN.search(local) or _imitates(local):\n",
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _ROUTE.search(local) or _imitates(local):\n",
        ),
        (
            "    if _ROUTE.search(local) or _UNSEEN.search(local) or _imitates(local):\n",
            "    if _ROUTE.search(local) or _UNSEEN.search(local):\n",
        ),
        ("return f\"{local}@{domain if domain.isascii() else self.key.rpartition('@')[2]}\"", "return self.key"),
    ):
        yield Mutant(file, old, new, ADDRESSES)
