"""Damaged files: whatever happens to the bytes, loading gives what was saved or an error of its own kind."""

import io
import json
import random
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from io_files import X, ensemble, file_of, parts, saved

from skensemble.io import FormatError, IntegrityError, PersistenceError, get_untrusted_types, loads
from skensemble.io._zip_container import Container

DAMAGE = (FormatError, IntegrityError)
# Two of the paths that a file of this ensemble needs; what is changed may ask for more.
BUILDER = "io_files.network"


def is_refused(data):
    """Whether the file is refused before anything is made of it, every byte checked."""
    try:
        with Container(data) as container:
            container.check_all()
    except DAMAGE:
        return True
    return False


def assert_refused_or_same(data):
    """Loading raises one of two errors, or gives the ensemble that was saved."""
    if is_refused(data):
        return
    np.testing.assert_array_equal(loads(data).predict_proba(X), ensemble().predict_proba(X))


# Bits and bytes


def test_undamaged_file_is_not_refused():
    """The tests below would pass for a loader that refuses everything."""
    assert not is_refused(saved())
    np.testing.assert_array_equal(loads(saved()).predict_proba(X), ensemble().predict_proba(X))


def test_flipped_bits(counts):
    """A bit that is flipped anywhere is noticed: of every byte one, of every byte of the manifest all eight."""
    data, rng = saved(), random.Random(0)
    start = data.index(b"{")
    end = start + len(json.dumps(Container(data).manifest, separators=(",", ":")))
    flips = [(i, 1 << rng.randrange(8)) for i in range(len(data))]
    flips += [(i, 1 << bit) for i in range(start, end) for bit in range(8)]
    damaged = bytearray(data)
    for i, bit in rng.sample(flips, min(counts(3000, len(flips)), len(flips))):
        damaged[i] ^= bit
        assert is_refused(bytes(damaged)), (i, bit)
        damaged[i] ^= bit


def test_flipped_bits_are_noticed_by_the_loader(counts):
    """The whole loader, too, raises one of its own errors."""
    data, rng = saved(), random.Random(1)
    for _ in range(counts(200, 2000)):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with pytest.raises(DAMAGE):
            loads(bytes(damaged))


def test_truncated(counts):
    """A file that ends too early is refused, wherever it ends."""
    data = saved()
    lengths = range(len(data))
    for length in random.Random(0).sample(lengths, min(counts(2000, len(lengths)), len(lengths))):
        assert is_refused(data[:length]), length


def test_zeroed_blocks(counts):
    """Blocks of zeros, as of torn writes and lost sectors, are noticed where they change anything."""
    data, rng = saved(), random.Random(0)
    for _ in range(counts(200, 1000)):
        length = rng.choice([1, 16, 512, 4096])
        start = rng.randrange(len(data))
        damaged = data[:start] + bytes(len(data[start : start + length])) + data[start + length :]
        assert is_refused(damaged) or damaged == data


def test_spliced(counts):
    """Pieces that are lost, doubled, exchanged, or from elsewhere are noticed."""
    data, rng = saved(), random.Random(0)
    for _ in range(counts(200, 1000)):
        a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
        pieces = [data[:a], data[a:b], data[b:c], data[c:d], data[d:]]
        for order in ((0, 2, 4), (0, 1, 1, 2, 3, 4), (0, 3, 2, 1, 4), (4, 0), (0, 1, 2, 3, 4, 0)):
            damaged = b"".join(pieces[i] for i in order)
            assert damaged == data or is_refused(damaged)
        noise = rng.randbytes(b - a)
        assert noise == data[a:b] or is_refused(data[:a] + noise + data[b:])


def test_more_bytes(counts):
    """Nothing may stand before or after a file, not even what zip programs pass over."""
    data, rng = saved(), random.Random(0)
    for _ in range(counts(50, 300)):
        more = rng.randbytes(rng.randrange(1, 100))
        assert is_refused(more + data)
        assert is_refused(data + more)
    assert is_refused(data + data)
    assert is_refused(data + b"\0")


def entries_of(data):
    """(info, content) of the zip's entries, and its comment."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()], archive.comment


def zip_of(contents, comment, *, compress=zipfile.ZIP_STORED):
    """A zip of (name, content) as any program might write it, with the dates of ours."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = 0o100644 << 16, compress
            archive.writestr(info, content)
        archive.comment = comment
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # by the zipfile of Python, which writes them for us
def test_entries_in_another_form(counts):
    """Entries that are exchanged, renamed, doubled, left out or compressed are refused, their content as it was."""
    entries, comment = entries_of(saved())
    contents = [(info.filename, content) for info, content in entries]
    assert zip_of(contents, comment) == saved()  # else every file below would be refused for another reason
    rng = random.Random(0)
    for _ in range(counts(50, 200)):
        i, j = rng.sample(range(len(contents)), 2)
        swapped = list(contents)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        assert is_refused(zip_of(swapped, comment))
        exchanged = list(contents)
        exchanged[i], exchanged[j] = (contents[i][0], contents[j][1]), (contents[j][0], contents[i][1])
        assert contents[i][1] == contents[j][1] or is_refused(zip_of(exchanged, comment))
        assert is_refused(zip_of([*contents[:i], *contents[i + 1 :]], comment))
        assert is_refused(zip_of([*contents, contents[i]], comment))
        assert is_refused(zip_of([*contents, ("members/99999.safetensors", contents[j][1])], comment))
        renamed = list(contents)
        renamed[i] = rng.choice(["x", "../x", "/x", "members/00000.pkl", contents[i][0].upper()]), contents[i][1]
        assert is_refused(zip_of(renamed, comment))
    for compress in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert is_refused(zip_of(contents, comment, compress=compress))
    for other in (b"", comment[:-1], comment + b"0", comment.upper(), b"\xff" + comment, comment[:-1] + b"g"):
        assert is_refused(zip_of(contents, other))


def test_no_zip(counts):
    """Anything else is refused: nothing, text, random bytes, compressed bytes, a zip of something else."""
    rng = random.Random(0)
    others = [b"", b"PK", b"PK\5\6" + bytes(18), b"hello", zlib.compress(saved()), zip_of([("a", b"b")], b"")]
    for data in [*others, *(rng.randbytes(rng.randrange(3000)) for _ in range(counts(100, 1000)))]:
        with pytest.raises(FormatError):
            loads(data)


# What somebody changes on purpose, with digests worked out again


def json_paths(value, path=()):
    """The place of every value in parsed JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from json_paths(inner, (*path, key))


def replaced(value, path, change):
    """Parsed JSON with the value at a place changed; None takes it away."""
    if not path:
        return change(value)
    if isinstance(value, dict):
        inner = replaced(value[path[0]], path[1:], change)
        return {**value, path[0]: inner}
    return [replaced(v, path[1:], change) if i == path[0] else v for i, v in enumerate(value)]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["object", "tuple", "dict", "callable", "items", "array", "os.system", "keras", "model", "O", "f4"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["t", "v", "kind", "class", "config", "class_name", "module"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
few = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def assert_no_foreign_error(data):
    """Only errors of our own come out of a file, whatever it says."""
    try:
        loads(data, trusted=[])
    except PersistenceError:
        pass
    try:
        get_untrusted_types(data=data)
    except PersistenceError:
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of versions and of keys that are not known
def test_manifest_that_was_changed(counts):
    """Any value of the manifest may be any other: the file loads, or an error of our own is raised."""
    manifest, entries = parts()
    manifest = {key: value for key, value in manifest.items() if key != "entries"}
    places = list(json_paths(manifest))

    @settings(few, max_examples=counts(150, 10_000))
    @given(st.sampled_from(places), values)
    def check(place, value):
        changed = replaced(manifest, place, lambda _: value)
        if isinstance(changed, dict):
            assert_no_foreign_error(file_of(changed, entries))

    check()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_architecture_that_was_changed(counts):
    """The same holds for every value of an architecture."""
    manifest, entries = parts()
    config = json.loads(entries["architectures/0000.json"])
    places = list(json_paths(config))

    @settings(few, max_examples=counts(150, 10_000))
    @given(st.sampled_from(places), values)
    def check(place, value):
        changed = json.dumps(replaced(config, place, lambda _: value)).encode()
        assert_no_foreign_error(file_of(manifest, {**entries, "architectures/0000.json": changed}))

    check()


def test_entry_that_was_changed(counts):
    """Bytes of entries that are changed, with the digests worked out again, never raise a foreign error."""
    manifest, entries = parts()
    rng = random.Random(0)
    names = [name for name in entries if name.endswith(".safetensors")]
    for _ in range(counts(100, 3000)):
        name = rng.choice(names)
        content = bytearray(entries[name])
        for _ in range(rng.choice([1, 1, 4])):
            content[rng.randrange(min(len(content), 400))] = rng.randrange(256)
        assert_no_foreign_error(file_of(manifest, {**entries, name: bytes(content)}))
