"""Metadata lives in pyproject.toml; this file will build the compiled backends."""

from setuptools import setup

setup()
