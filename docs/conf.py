"""The documentation site: `make docs` builds it, with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "bayesmeta"
author = "The bayesmeta authors"
copyright = "The bayesmeta authors, Apache-2.0"
html_title = "bayesmeta"

extensions = [
    "myst_parser",  # pages are Markdown, and read well on a code host too
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # a page for each public name
    "sphinx.ext.napoleon",  # docstrings have Args, Attributes and Raises
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Small ones of our own, in docs/_ext.
    "plain_docstrings",
    "long_examples",
    "llms_txt",
]
exclude_patterns = ["_build", "_ext", "_templates", "gallery", "generated/long_examples"]
templates_path = ["_templates"]

# Markdown: links to headings, and fences of colons for cards.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# The reference: members in the order of the source, types as they are written.
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autosummary_generate = True
highlight_language = "python"

# Short examples, docs/gallery, run at every build; long ones, examples/, are shown with what they
# printed when they were measured.
sphinx_gallery_conf = {
    "examples_dirs": ["gallery", "generated/long_examples"],
    "gallery_dirs": ["generated/gallery", "generated/examples"],
    "filename_pattern": r"docs/gallery/",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("bayesmeta",),
    "reference_url": {"bayesmeta": None},
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
    "download_all_examples": False,
    "image_scrapers": ("drawn_figures", "matplotlib"),
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": True,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The page of the lecture, which `make docs` computes.
html_extra_path = ["generated/extra"]
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "changelog": []}
