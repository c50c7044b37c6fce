"""The objects and entries of a file to a fitted estimator. Nothing is built before everything was audited."""

from skensemble._files.arrays import read_arrays
from skensemble._keras_objects.ensemble_layers import SelectColumns, WeightedAverage
from skensemble._keras_objects.table_layers import EmbedCategories, InputColumns
from skensemble.io._errors import FormatError
from skensemble.io._manifest import STACKED, architecture_entry
from skensemble.io._objects.architectures import dry_build
from skensemble.io._objects.kinds import KINDS
from skensemble.io._values.typed_json import Decoder

_OWN_LAYERS = (EmbedCategories, InputColumns, SelectColumns, WeightedAverage)


class Reader:
    """Gives the objects of a file whose names were audited; how one of each kind is read is in `_objects/`.

    Parameters
    ----------
    container : Container
    trusted : collection of str
    custom_objects : dict of str to object
    lazy : bool
        Whether members are read only when they are used.

    Attributes
    ----------
    configs : list of dict
        Configurations of the architectures.
    probe : dict of str to ndarray or None
        What the networks predict; None where this is not compared.
    root : int
        Number of the estimator that was saved.
    decode : callable
        `decode(value)` returns the value that typed JSON stands for, see `Decoder.decode`.
    """

    def __init__(self, container, trusted, custom_objects, *, lazy=False):
        self.container, self.trusted, self.lazy = container, trusted, lazy
        self.custom_objects = custom_objects | {f"skensemble>{layer.__name__}": layer for layer in _OWN_LAYERS}
        self.configs, self.probe, self.root = [], None, container.manifest["root"]
        self._nodes, self._built = container.manifest["objects"], {}

    def read(self):
        """The estimator that was saved.

        Returns
        -------
        estimator
        """
        for number, size in enumerate(_stored_sizes(self.container)):
            self.configs.append(self.container.read_json(architecture_entry(number)))
            dry_build(self.configs[number], self.custom_objects, size)
        self.decode = Decoder(self.arrays("arrays.safetensors"), self.object, self.trusted).decode
        if self.container.manifest["probe"] is not None and not self.lazy:
            self.probe = self.arrays("probe.safetensors")
        return self.object(self.root)

    def object(self, number):
        """An object of the manifest, built when it is first used."""
        if type(number) is not int or not 0 <= number < len(self._nodes):
            raise FormatError(f"The manifest has no object {str(number)[:80]}.")
        if number not in self._built:
            node = self._nodes[number]
            self._built[number] = KINDS[node["kind"]].read(node, number, self)
        return self._built[number]

    def arrays(self, entry):
        """Named arrays of an entry."""
        return read_arrays(self.container.read(entry), entry, FormatError)


def _stored_sizes(container):
    """Of each architecture, the most bytes that the file has for the variables of one network."""
    objects = container.manifest["objects"]
    sizes = [0] * container.manifest["n_architectures"]
    for node in objects:
        model, entries = None, []
        if node["kind"] == "model" and node["variables"] is not None:
            model, entries = node, [node["variables"]]
        elif node["kind"] in STACKED and objects[node["prototype"]]["model"] is not None:
            model, entries = objects[objects[node["prototype"]]["model"]], node["variables"]
        for entry in entries:
            sizes[model["architecture"]] = max(sizes[model["architecture"]], container.size_of(entry))
    return sizes
