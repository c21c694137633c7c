"""Packaging, read from settings.ini (the one place where names, versions and requirements live)."""
import re
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(HERE / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
BLOB, RAW = (f"{cfg['git_url']}/{kind}/{cfg['branch']}/" for kind in ("blob", "raw"))
PYTHONS = ("3.11", "3.12", "3.13")


def long_description() -> str:
    "The README, its links made absolute: on a package index nothing lies beside it."
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{RAW}", text)
    return re.sub(r"(\]\()(?![a-z]+:|#)", rf"\g<1>{BLOB}", text)


class BuildWithData(build_py):
    "Puts the notebooks and the generators of data/pretrained into the wheel."

    def run(self) -> None:
        "Build, then copy; an editable installation finds them in the checkout."
        super().run()
        if self.editable_mode:
            return
        unwanted = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        for source, name in (("data/pretrained", "pretrained"), ("nbs", "notebooks")):
            if (HERE / source).is_dir():
                shutil.copytree(HERE / source, Path(self.build_lib) / "emodiff" / name,
                                ignore=unwanted, dirs_exist_ok=True)


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=long_description(),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"].split(),
    license="Apache-2.0",
    author=cfg["author"],
    url=cfg["git_url"],
    project_urls={
        "Documentation": cfg["doc_host"] + cfg["doc_baseurl"],
        "Source": cfg["git_url"],
        "Issues": f"{cfg['git_url']}/issues",
        "Changelog": f"{BLOB}CHANGELOG.md",
        "Paper": "https://arxiv.org/abs/2305.11413"},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: {v}" for v in PYTHONS),
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed"],
    packages=find_packages(include=["emodiff", "emodiff.*"]),
    include_package_data=True,
    package_data={"emodiff": ["py.typed", "*.json", "*.csv"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    entry_points={"console_scripts": cfg["console_scripts"].split()},
    extras_require={name.removesuffix("_requirements"): value.split()
                    for name, value in cfg.items() if name.endswith("_requirements")},
    cmdclass={"build_py": BuildWithData},
    zip_safe=False,
)
