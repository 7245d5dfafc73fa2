import sys

from sbx_fixture_words import words


def greet(name):
    return f"{words['hello']}, {name}"


def main():
    print(greet(sys.argv[1]))
