"""Files on the Hugging Face hub: downloaded once, checked against the hub's own hash, and offline from its cache."""

import hashlib
import re
from pathlib import Path
from typing import Any

from keras_resnet.checks import expect, invalid
from keras_resnet.weights.sources import HUB

MAIN = "main"
SAFETENSORS = "model.safetensors"


def parts(address: str) -> tuple[str, str]:
    """The repository and the revision of `hf://owner/repo@revision`."""
    repository, _, revision = address.removeprefix(HUB).partition("@")
    return repository, revision or MAIN


def fetched(address: str, file: str) -> Path | None:
    """The file's path in the hub's cache, to which it is downloaded where it is missing or out of date.

    Args:
        address: hf://owner/repo or hf://owner/repo@revision.
        file: A name in that repository.

    Returns:
        The path, or None if the repository has no such file.

    Raises:
        ValueError: If there is no such repository or revision, or the file is not what the hub's hash says.
        ConnectionError: If the file is not in the cache and the hub cannot be reached, or the download breaks off.
    """
    from huggingface_hub.utils import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        path, digest = cached(address, file) or downloaded(address, file)
    except LocalEntryNotFoundError as error:  # a kind of the next one
        raise unreachable(address, error.__cause__ or error) from error
    except EntryNotFoundError:
        return None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise invalid("weights", f"a repository and a revision that the hub has ({said(error)})", address) from error
    except Exception as error:  # whatever connections raise
        raise unreachable(address, error) from error
    whole = f"the whole file, of the hash {digest}: remove {path.resolve()} and load again"
    expect(is_whole(path, digest), "weights", whole, address)
    return path


def cached(address: str, file: str) -> tuple[Path, str] | None:
    """A commit's file never changes: if it is in the cache, the hub need not be asked."""
    from huggingface_hub.utils import LocalEntryNotFoundError

    if not re.fullmatch("[0-9a-f]{40}", parts(address)[1]):
        return None
    try:
        return local(address, file)
    except LocalEntryNotFoundError:
        return None


def local(address: str, file: str) -> tuple[Path, str]:
    """The cache names a file by its hash, and links to it."""
    from huggingface_hub import hf_hub_download

    repository, revision = parts(address)
    path = Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
    return path, path.resolve().name


def downloaded(address: str, file: str) -> tuple[Path, str]:
    """As the hub has it now; from the cache if the hub cannot be reached."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision = parts(address)
    if constants.HF_HUB_OFFLINE:
        return local(address, file)
    try:
        digest = metadata(address, file).etag
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception as offline:  # whatever connections raise
        try:
            return local(address, file)
        except LocalEntryNotFoundError as missing:
            raise missing from offline
    return Path(hf_hub_download(repository, file, revision=revision)), digest


def metadata(address: str, file: str) -> Any:
    """The hub's record of a file: `etag`, its hash; `commit_hash`, the revision's commit; `size`."""
    from huggingface_hub import get_hf_file_metadata

    return get_hf_file_metadata(url_of(address, file))


def url_of(address: str, file: str) -> str:
    from huggingface_hub import hf_hub_url

    repository, revision = parts(address)
    return hf_hub_url(repository, file, revision=revision)


def unreachable(address: str, error: BaseException) -> ConnectionError:
    by_hand = f"Fetch {url_of(address, SAFETENSORS)} by hand and pass its path as `weights`."
    return ConnectionError(f"{address} cannot be downloaded ({said(error)}). {by_hand}")


def said(error: BaseException) -> str:
    """In one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_whole(path: Path, digest: str) -> bool:
    """The hub names large files by their SHA-256, and the others as git does. Another name tells nothing."""
    if re.fullmatch("[0-9a-f]{64}", digest):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    if re.fullmatch("[0-9a-f]{40}", digest):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == digest
    return True
