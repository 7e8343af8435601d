"""The documentation site: `make site`. Pages lie where they lie in the checkout, so that their links hold in both."""

import repro

project = "alexnet-repro"
version = release = repro.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "reports/**", "results/README.md"]
exclude_patterns = ["docs/conf.py"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "furo"
html_title = "alexnet-repro"
copybutton_prompt_text = "$ "
default_role = "literal"  # a word between single marks is code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpicky = False
