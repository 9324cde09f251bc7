"""Catalogue of public data sets: address, terms, size and SHA-256 of each.

Addresses are those of the publishers. A SHA-256 is listed only where independent
projects have recorded the same one for the same address: TensorFlow Datasets for
MovieLens, several projects for Wikispeedia and KuaiRand.
"""

from typing import NamedTuple

from twotower_jax.registry import Registry

MB = 1_000_000


class Part(NamedTuple):
    """One file to fetch.

    Attributes:
      name: name of the file; its ending is the format of the archive.
      address: URL.
      limit: largest number of bytes after unpacking.
      size: bytes of the file itself, or None.
      sha256: SHA-256 as 64 hexadecimal digits, or None.
    """

    name: str
    address: str
    limit: int
    size: int | None = None
    sha256: str | None = None


class DataSet(NamedTuple):
    """A data set of the catalogue.

    Attributes:
      content: its content in one line.
      source: the value of ``data=`` that reads it.
      page: its web page.
      terms: its licence, as far as one is stated.
      parts: the files to fetch; () for a data set that has to be requested by hand.
      by_hand: the steps by hand for a data set without parts.
    """

    content: str
    source: str
    page: str
    terms: str
    parts: tuple[Part, ...] = ()
    by_hand: str = ""


_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_RESEARCH = (
    "research only, not commercial without permission; cite Harper & Konstan 2015"
)
_NO_COPIES = f"{_RESEARCH}; no redistribution"
_COPIES = f"{_RESEARCH}; redistribution under the same terms"


def _movielens(
    name: str,
    content: str,
    terms: str,
    limit: int,
    size: int | None,
    sha256: str | None,
) -> DataSet:
    part = Part(f"{name}.zip", f"{_GROUPLENS}/{name}.zip", limit * MB, size, sha256)
    page = "https://grouplens.org/datasets/movielens/"
    return DataSet(content, "movielens", page, terms, (part,))


_LIGHTGCN = "https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data/gowalla"

_DATA_SETS: dict[str, DataSet] = {
    "ml-latest-small": _movielens(
        "ml-latest-small",
        "100,836 ratings of 610 users, 1996-2018",
        f"{_COPIES}; GroupLens may change it",
        50,
        978_202,
        "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    ),
    "ml-100k": _movielens(
        "ml-100k",
        "100,000 ratings of 943 users, with age, gender and occupation, 1997-1998",
        _NO_COPIES,
        100,
        4_924_029,
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
    "ml-1m": _movielens(
        "ml-1m",
        "1,000,209 ratings of 6,040 users, with age, gender and occupation, 2000-2003",
        _NO_COPIES,
        200,
        5_917_549,
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    "ml-10m": _movielens(
        "ml-10m", "10,000,054 ratings of 71,567 users", _NO_COPIES, 1_000, None, None
    ),
    "ml-20m": _movielens(
        "ml-20m",
        "20,000,263 ratings of 138,493 users, 1995-2015",
        _COPIES,
        2_000,
        198_702_078,
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    ),
    "ml-25m": _movielens(
        "ml-25m",
        "25,000,095 ratings of 162,541 users, 1995-2019",
        _COPIES,
        3_000,
        261_978_986,
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
    ),
    "gowalla": DataSet(
        "check-ins, 29,858 users, 40,981 places, 1,027,370 pairs, split by LightGCN",
        "lightgcn",
        "https://github.com/kuandeng/LightGCN",
        "none stated; cite He et al. 2020, and Cho et al. 2011 for the check-ins",
        (
            Part("train.txt", f"{_LIGHTGCN}/train.txt", 50 * MB),
            Part("test.txt", f"{_LIGHTGCN}/test.txt", 50 * MB),
        ),
    ),
    "wikispeedia": DataSet(
        "paths of players through 4,604 articles of Wikipedia, and every link of those",
        "wikispeedia",
        "https://snap.stanford.edu/data/wikispeedia.html",
        "none stated; cite West & Leskovec 2012 and West, Pineau & Precup 2009",
        (
            Part(
                "wikispeedia_paths-and-graph.tar.gz",
                "https://snap.stanford.edu/data/wikispeedia/"
                "wikispeedia_paths-and-graph.tar.gz",
                300 * MB,
                9_901_821,
                "97697096f5d2dcb77aa69e3992305c6c561de89edb9fb10b5ad9feaf8ba534d5",
            ),
        ),
    ),
    "kuairand-pure": DataSet(
        "2.6M videos shown to 27,285 users, 1.2M of them drawn at random",
        "kuairand",
        "https://kuairand.com",
        "CC BY-SA 4.0; cite Gao et al. 2022",
        (
            Part(
                "KuaiRand-Pure.tar.gz",
                "https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
                1_000 * MB,
                47_432_272,
                "c814bf6f3624c0cfae83c57de3df26b2ed206e5c57bab4c4dcbfabbabe20cbf0",
            ),
        ),
    ),
    "recflow": DataSet(
        "9.3M requests of a video feed, with the items that each of 6 stages discarded",
        "recflow",
        "https://github.com/RecFlow-ICLR/RecFlow",
        "CC BY-SA 4.0 by its repository; cite Liu et al. 2025",
        by_hand="Follow the link to the drive of USTC on that page, and put the "
        "folder all_stage (or realshow and request_id_dict) into one.",
    ),
    "mind-small": DataSet(
        "news shown to 50,000 users of Microsoft News in a week, and their clicks",
        "mind",
        "https://msnews.github.io",
        "Microsoft Research License Terms, to be accepted on that page; no commercial "
        "use; cite Wu et al. 2020",
        by_hand="Accept the terms on that page, fetch MINDsmall_train.zip and "
        "MINDsmall_dev.zip, and unpack each into a folder of its name within one "
        "folder.",
    ),
    "recbole": DataSet(
        "44 data sets in RecBole's atomic files",
        "recbole",
        "https://github.com/RUCAIBox/RecDatasets",
        "that of each data set",
        by_hand="Choose one there, and unpack it into a folder of its name that holds "
        "NAME.inter.",
    ),
}

CATALOGUE: Registry[DataSet] = Registry("data set", _DATA_SETS)
