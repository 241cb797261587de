# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the site: `make docs` gives it a copy of the checkout, with the reference in `collection/`."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx

project = "sqliteops.backup"
author = "sqliteops.backup contributors"
project_copyright = author
extensions = ["myst_parser", "sphinx_antsibull_ext"]
include_patterns = ["*.md", "docs/*.md", "roles/*/README.md", "collection/*.rst"]
nitpicky = True
# As deep as the guides link, with the names that GitHub gives.
myst_heading_anchors = 4
html_theme = "sphinx_ansible_theme"
html_copy_source = False
highlight_language = "none"
pygments_style = "ansible"

# What the reference points to in Ansible's own documentation, so that the site is built without a network.
_ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
_PAGES = {
    "ansible_configuration_settings": f"{_ANSIBLE}/reference_appendices/config.html",
    "common_return_values": f"{_ANSIBLE}/reference_appendices/common_return_values.html",
    "ansible_collections.ansible.builtin.find_module": f"{_ANSIBLE}/collections/ansible/builtin/find_module.html",
}


def _to_ansible(_app: Sphinx, _env: object, node: nodes.Element, content: nodes.TextElement) -> nodes.reference | None:
    page = _PAGES.get(node["reftarget"])
    return nodes.reference("", "", content, internal=False, refuri=page) if page else None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", _to_ansible)
