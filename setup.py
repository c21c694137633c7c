"""Packaging, read from settings.ini (the one place where names, versions and requirements live)."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(HERE / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"].split(),
    license="Apache-2.0",
    url=cfg["git_url"],
    packages=find_packages(include=["emodiff", "emodiff.*"]),
    include_package_data=True,
    package_data={"emodiff": ["py.typed", "*.json", "*.csv"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    entry_points={"console_scripts": cfg["console_scripts"].split()},
    extras_require={name.removesuffix("_requirements"): value.split()
                    for name, value in cfg.items() if name.endswith("_requirements")},
    zip_safe=False,
)
