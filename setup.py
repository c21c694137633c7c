"""Packaging, read from settings.ini (the one place where names, versions and requirements live)."""
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(HERE / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]


class BuildWithGenerators(build_py):
    "Puts the generators of data/pretrained into the wheel, as emodiff/pretrained."

    def run(self) -> None:
        "Build, then copy; an editable installation finds them in the checkout."
        super().run()
        source = HERE / "data" / "pretrained"
        if source.is_dir() and not self.editable_mode:
            target = Path(self.build_lib) / "emodiff" / "pretrained"
            shutil.copytree(source, target, dirs_exist_ok=True)


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
    cmdclass={"build_py": BuildWithGenerators},
    zip_safe=False,
)
