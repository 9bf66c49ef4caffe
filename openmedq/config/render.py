"""Render params.yaml: every setting, with its description as a comment."""

import yaml

from openmedq.config import Params, Section


def render(params: Params) -> str:
    """Return the text of the file; `config.load` reads it back as the same params."""
    lines = [
        "# Every setting of every stage. `python -m openmedq profile NAME` writes this file.",
        "",
    ]
    for name, info in Params.model_fields.items():
        section = getattr(params, name)
        if isinstance(section, dict):  # sections by name
            tree = {key: each.model_dump(mode="json", exclude_defaults=True) for key, each in section.items()}
            lines += [f"# {info.description}", *yaml.safe_dump({name: tree}, sort_keys=False).splitlines(), ""]
            continue
        lines.append(f"# {(type(section).__doc__ or '').splitlines()[0]}")
        lines.append(f"{info.alias or name}:")
        lines.extend(_render_section(section, indent=2))
        lines.append("")
    return "\n".join(lines)


def _render_section(section: Section, indent: int) -> list[str]:
    lines = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        pad = " " * indent
        if isinstance(value, Section):
            lines.append(f"{pad}{name}:  # {(type(value).__doc__ or '').splitlines()[0]}")
            lines.extend(_render_section(value, indent + 2))
            continue
        plain = section.model_dump(mode="json")[name]
        text = (
            yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("\n...\n").strip()
        )
        comment = f"  # {info.description}" if info.description else ""
        lines.append(f"{pad}{name}: {text}{comment}")
    return lines
