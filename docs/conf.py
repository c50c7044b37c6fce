"""Configuration of the documentation site: `make docs` builds it into `docs/_build/html`, without a network."""

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import skensemble

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

project = "skensemble"
author = "the skensemble developers"
copyright = "the skensemble developers"
version = release = skensemble.__version__
language = "en"

# intersphinx is left out: it would have to download inventories, and the site is built offline.
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
templates_path = ["_templates"]

# Markdown
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Reference
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # types are in the docstrings
numpydoc_show_class_members = False  # the template of a class lists its methods
default_role = "py:obj"

# Examples
sys.path.append(str(Path(__file__).parent))  # sphinx-gallery imports `conf.gallery_key` by its name

GALLERY_ORDER = [
    "plot_digits_ensemble",
    "plot_model_averaging",
    "plot_snapshot",
    "plot_polyak",
    "plot_convnets",
    "plot_stacking",
    "plot_voting_and_stacking",
    "plot_uncertainty",
    "plot_prediction_sets",
    "plot_calibration",
    "plot_grid_search",
    "plot_early_stopping",
    "plot_backbone",
    "plot_picture_and_table",
    "plot_export",
]


def gallery_key(filename):
    """Place of an example in the gallery: as listed above, new ones at the end."""
    name = Path(filename).stem
    return GALLERY_ORDER.index(name) if name in GALLERY_ORDER else len(GALLERY_ORDER)


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "conf.gallery_key",
    "image_srcset": ["2x"],
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skensemble",),
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "abort_on_example_error": True,
    "write_computation_times": False,
    "remove_config_comments": True,
}

# Pages
html_theme = "pydata_sphinx_theme"
html_title = "skensemble"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "project/*": []}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "logo": {"text": "skensemble", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def prepare_docstring(app, what, name, obj, options, lines):
    """Make plain text of what reStructuredText would take for a reference."""
    text = "\n".join(lines)
    # Inherited docstrings refer to pages of scikit-learn's own site.
    text = re.sub(r":(?:ref|term):`([^`<]+?)(?:\s*<[^>]*>)?`", lambda match: match.group(1).strip(), text)
    # Shapes such as (n_features_in_,): a word with an underscore at its end is a link.
    text = re.sub(r"(?<=[( ])(\w+_)(?=[,.)])", r"`\1`", text)
    lines[:] = text.split("\n")


class GalleryFigure(SphinxDirective):
    """Figure of an example, which leads to the example; nothing where the examples were not run.

    The argument is the name of the example, the content what the figure shows.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        """The figure as an image in a link."""
        (name,) = self.arguments
        if name not in GALLERY_ORDER:
            raise self.error(f"There is no example {name}.")
        file = f"gallery/images/sphx_glr_{name}_001_2_00x.png"
        if not (Path(self.env.srcdir) / file).is_file():
            return []
        link = self.env.app.builder.get_relative_uri(self.env.docname, f"gallery/{name}")
        image = nodes.image(uri=f"/{file}", alt=" ".join(self.content), classes=["gallery-figure"])
        return [nodes.paragraph("", "", nodes.reference("", "", image, refuri=link))]


def keep_errors_together(app, docname, source):
    """Keep a number and its standard error on one line, where a table is narrow."""
    source[0] = source[0].replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def setup(app):
    """Connect the hooks of this file."""
    app.add_directive("gallery-figure", GalleryFigure)
    app.connect("source-read", keep_errors_together)
    # Before numpydoc, which has priority 500, writes the sections.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
