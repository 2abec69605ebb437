"""Make `kopt/report/templates/vega.js`: Vega, Vega-Lite and vega-embed in one script, for the report's figures.

vl-convert carries these libraries and bundles them without a network.  Make the file anew for a new version of Altair:

    pip install vl-convert-python
    python docs/bundle_vega.py
"""

from __future__ import annotations

from pathlib import Path

import altair
import vl_convert

BUNDLE = Path(__file__).resolve().parents[1] / "kopt/report/templates/vega.js"
HEAD = "/*! Vega {vega}, Vega-Lite {lite}, vega-embed {embed}: vega.github.io, BSD-3-Clause; docs/bundle_vega.py */"


def bundle() -> str:
    """Return the script, which defines `window.vegaEmbed`."""
    lite = altair.SCHEMA_VERSION.lstrip("v")
    known = vl_convert.get_vegalite_versions()
    chosen = next(version for version in reversed(known) if lite.startswith(f"{version}.") or version == lite)
    head = HEAD.format(vega=vl_convert.get_vega_version(), lite=lite, embed=vl_convert.get_vega_embed_version())
    return f"{head}\n{vl_convert.javascript_bundle(vl_version=chosen).strip()}\n"


if __name__ == "__main__":
    text = bundle()
    if "</script" in text.lower() or "<!--" in text:
        raise SystemExit("the bundle would end the page's script: escape it")
    BUNDLE.write_text(text, encoding="utf-8")
    print(f"{BUNDLE}: {len(text.encode())} bytes")
