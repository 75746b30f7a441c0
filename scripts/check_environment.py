"""Print what an environment lacks to run this checkout, as one line; nothing if it lacks nothing.

    some/environment/bin/python scripts/check_environment.py pyproject.toml [extra ...]

Compares the dependencies that the file names with the metadata of what is installed, and imports none of it.
"""

import sys
from importlib import metadata


def main(pyproject: str, *extras: str) -> str:
    """Return the requirements that are not met, separated by commas.

    Args:
        pyproject: Path of pyproject.toml.
        extras: Names of optional dependencies that are wanted as well.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  (the environment in question may be older than the project)
        return "Python >= 3.11"
    import tomllib

    try:
        from packaging.requirements import Requirement
    except ImportError:
        try:
            from pip._vendor.packaging.requirements import Requirement
        except ImportError:
            return "packaging"
    with open(pyproject, "rb") as file:  # noqa: PTH123
        project = tomllib.load(file)["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    missing = []
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(str(requirement))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append(f"{requirement} (has {found})")
    return ", ".join(missing)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
