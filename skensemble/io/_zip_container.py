"""The zip around everything: entries stored as they are, in order, each with its digest in the manifest.

A file has one possible form: given names and contents, every byte of the zip follows. So a reader compares instead of
interpreting, and two readers cannot see different entries.
"""

import hashlib
import io
import os
import re
import struct
import weakref
import zipfile

from skensemble._files.strict_json import read_json, write_json
from skensemble.io._errors import FormatError, IntegrityError

MANIFEST = "manifest.json"
_COMMENT = "skensemble-manifest-sha256:"
_NAME = re.compile(
    r"manifest\.json|arrays\.safetensors|probe\.safetensors|architectures/[0-9]{4}\.json"
    r"|members/[0-9]{5}(\.optimizer)?\.safetensors|meta/[0-9]{4}\.skops"
)
MAX_ENTRIES = 20_000
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_JSON_BYTES = 64 * 2**20
#: Fields of a directory entry that are the same in every file.
_FIXED = {
    "date_time": (1980, 1, 1, 0, 0, 0),
    "compress_type": zipfile.ZIP_STORED,
    "comment": b"",
    "create_system": 3,
    "create_version": zipfile.DEFAULT_VERSION,
    "extract_version": zipfile.DEFAULT_VERSION,
    "reserved": 0,
    "flag_bits": 0,
    "volume": 0,
    "internal_attr": 0,
    "external_attr": 0o100644 << 16,
}
#: What zipfile raises for bytes that are not a zip.
_NO_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, IndexError, KeyError)
_ZIP64_BYTES = 2**31 - 1  # zipfile writes other headers from here on
_MAX_DIRECTORY_BYTES = 256  # of one entry, the end of the directory included


def digest(data):
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_container(stream, manifest, entries):
    """Write a whole file.

    Parameters
    ----------
    stream : binary file, writable and seekable
    manifest : dict
        The list of entries is added to it.
    entries : dict of str to bytes
        In order; without the manifest.
    """
    listed = [{"name": name, "size": len(data), "sha256": digest(data)} for name, data in entries.items()]
    manifest = write_json({**manifest, "entries": listed})
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in {MANIFEST: manifest, **entries}.items():
            archive.writestr(_zip_info(name), data)
        archive.comment = f"{_COMMENT}{digest(manifest)}".encode("ascii")


def _zip_info(name):
    info = zipfile.ZipInfo(name, _FIXED["date_time"])
    info.compress_type, info.create_system = _FIXED["compress_type"], _FIXED["create_system"]
    info.external_attr = _FIXED["external_attr"]
    return info


class Container:
    """A file that is open for reading; its structure is checked, and each entry's digest when it is read.

    Parameters
    ----------
    source : str, path or bytes

    Attributes
    ----------
    manifest : object
        Parsed, its digest checked; its entries are those of the zip.
    fingerprint : str
        SHA-256 of the manifest, which holds that of every entry.
    size : int
        Size of the file in bytes.
    """

    def __init__(self, source):
        self._stream = io.BytesIO(source) if isinstance(source, bytes | bytearray) else open(source, "rb")
        weakref.finalize(self, self._stream.close)  # of a file that is read lazily, with its last member
        try:
            self.size = self._stream.seek(0, os.SEEK_END)
            self._identity = self._stat()
            self._infos, self.fingerprint = self._read_structure()
            data = self._slice(MANIFEST)
            if digest(data) != self.fingerprint:
                raise IntegrityError("The manifest is not the one that was written: its SHA-256 differs.")
            self.manifest = read_json(data, "The manifest", FormatError)
            self._sizes = _check_entries(self.manifest, self._infos)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the file."""
        self._stream.close()

    def read(self, name):
        """Bytes of an entry, whose digest is checked.

        Parameters
        ----------
        name : str

        Returns
        -------
        bytes
        """
        if name not in self._sizes:
            raise FormatError(f"The file has no entry {name!r}, which the manifest needs.")
        if self._stat() != self._identity:
            raise IntegrityError("The file was changed while it was read. Load it again.")
        data = self._slice(name)
        if digest(data) != self._sizes[name]:
            raise IntegrityError(f"The entry {name!r} is not the one that was written: its SHA-256 differs.")
        return data

    def read_json(self, name):
        """The value in an entry of JSON.

        Parameters
        ----------
        name : str

        Returns
        -------
        object
        """
        return read_json(self.read(name), name, FormatError)

    @property
    def names(self):
        """Names of all entries, as a set."""
        return set(self._infos)

    def size_of(self, name):
        """Bytes of an entry, 0 where there is none."""
        return self._infos[name].file_size if name in self._infos else 0

    def check_all(self):
        """Read every entry and check its digest."""
        for name in self._sizes:
            self.read(name)

    def _stat(self):
        if isinstance(self._stream, io.BytesIO):
            return None
        status = os.fstat(self._stream.fileno())
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _slice(self, name):
        info = self._infos[name]
        header = _local_header(info)
        self._stream.seek(info.header_offset)
        data = self._stream.read(len(header) + info.file_size)
        if len(data) < len(header) + info.file_size:
            raise IntegrityError(f"The file ends inside the entry {name!r}.")
        if data[: len(header)] != header:
            raise FormatError(f"The header of the entry {name!r} is not as it was written.")
        return data[len(header) :]

    def _read_structure(self):
        try:
            self._stream.seek(0)
            with zipfile.ZipFile(self._stream) as archive:
                infos, comment, start = archive.infolist(), archive.comment, archive.start_dir
        except (*_NO_ZIP, struct.error, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, 22):  # 22: it asks for a place before the start
                raise
            raise FormatError(f"The file must be a zip as `skensemble.io.dump` writes it: {error}.") from error
        if not re.fullmatch(_COMMENT + "[0-9a-f]{64}", comment.decode("latin-1")):
            raise FormatError(
                "The file was not written by `skensemble.io.dump`: the digest of the manifest is missing."
            )
        _check_infos(infos)
        end = sum(len(_local_header(info)) + info.file_size for info in infos)
        self._stream.seek(end)
        tail = self._stream.read(len(infos) * _MAX_DIRECTORY_BYTES)
        if start != end or (self.size < _ZIP64_BYTES and tail != _directory(infos, end, comment)):
            raise FormatError("The file must hold its entries and their directory, and nothing else.")
        return {info.filename: info for info in infos}, comment.decode("ascii")[len(_COMMENT) :]


def _directory(infos, offset, comment):
    """All bytes after the last entry: the directory and its end, in the format of files below 2 GiB."""
    entries = b""
    for info in infos:
        version = info.create_version, info.create_system, info.extract_version, 0, 0, info.compress_type
        date, (name, size) = (0, 33), (info.filename.encode("ascii"), info.file_size)  # 1 January 1980
        fields = *date, info.CRC, size, size, len(name), 0, 0, 0, 0, info.external_attr, info.header_offset
        entries += struct.pack(zipfile.structCentralDir, zipfile.stringCentralDir, *version, *fields) + name
    counts = 0, 0, len(infos), len(infos), len(entries), offset, len(comment)
    return entries + struct.pack(zipfile.structEndArchive, zipfile.stringEndArchive, *counts) + comment


def _check_infos(infos):
    if not 1 <= len(infos) <= MAX_ENTRIES or infos[0].filename != MANIFEST:
        raise FormatError(f"The file must hold 1 to {MAX_ENTRIES} entries, the manifest first: got {len(infos)}.")
    offset, names = 0, set()
    for info in infos:
        name = info.filename
        if not _NAME.fullmatch(name) or info.orig_filename != name or name in names:
            raise FormatError(f"The file must hold each of its entries once, and no others: got {name!r}.")
        names.add(name)
        wrong = [field for field, value in _FIXED.items() if getattr(info, field) != value]
        if info.header_offset >= _ZIP64_BYTES or info.file_size >= _ZIP64_BYTES:
            wrong = [field for field in wrong if not field.endswith("_version")]
        elif info.extra:
            wrong.append("extra")
        if wrong or info.compress_size != info.file_size or info.header_offset != offset:
            raise FormatError(f"The entry {name!r} must be stored as it is, after the one before: {wrong} differ.")
        if info.file_size > _largest(name):
            raise FormatError(f"The entry {name!r} must not exceed {_largest(name)} bytes: got {info.file_size}.")
        offset += len(_local_header(info)) + info.file_size


def _largest(name):
    if name == MANIFEST:
        return MAX_MANIFEST_BYTES
    return MAX_JSON_BYTES if name.endswith((".json", ".skops")) else float("inf")


def _local_header(info):
    """The bytes before the data of an entry."""
    expected = _zip_info(info.filename)
    expected.CRC, expected.file_size, expected.compress_size = info.CRC, info.file_size, info.compress_size
    return expected.FileHeader()


def _check_entries(manifest, infos):
    """SHA-256 of each entry, as the manifest has it."""
    listed = manifest.get("entries") if isinstance(manifest, dict) else None
    if not isinstance(listed, list) or not all(_is_entry(entry) for entry in listed):
        raise FormatError("The manifest must list the entries of the file.")
    in_zip = [(name, info.file_size) for name, info in infos.items() if name != MANIFEST]
    if in_zip != [(entry["name"], entry["size"]) for entry in listed]:
        raise FormatError("The entries of the file must be those that the manifest lists, in its order and sizes.")
    return {entry["name"]: entry["sha256"] for entry in listed}


def _is_entry(entry):
    types = {key: type(value) for key, value in entry.items()} if isinstance(entry, dict) else None
    return types == {"name": str, "size": int, "sha256": str}
