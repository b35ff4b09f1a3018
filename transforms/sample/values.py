"""What the sample hospitals look like: units, departments, codes and their weights.

Belongs here: literal values. Does not belong here: drawing from them (``transforms.sample.hospital``).

Everything is invented but the codes. Sources of the codes: ICD-10, NCSP, NCMP and NCRP codes that stood in the national
editions of 2017 and in the list SKDE keeps current (SKDE-Analyse/sas_codes@4289da1), so valid in 2019 and 2020; codes
of attributes by the Volven lists of October 2018; municipalities by SSB Klass 131 before and after 2020.
Organisation numbers begin with 900000, where FHI's own test files have theirs, and pass mod 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Weights = Mapping[str, float]

# Groups of patients: who comes to which department.
CHILD, YOUNG_WOMAN, WOMAN, MAN, OLD_WOMAN, OLD_MAN, NEWBORN = range(7)
GROUPS = 7
ADULTS = (YOUNG_WOMAN, WOMAN, MAN, OLD_WOMAN, OLD_MAN)
ALL_AGES = (CHILD, *ADULTS)
MEN = (MAN, OLD_MAN)
WOMEN = (YOUNG_WOMAN, WOMAN, OLD_WOMAN)


@dataclass(frozen=True, slots=True)
class Department:
    """One department (avdeling) with its specialist unit (fagenhet) and, where it has one, its ward.

    acute: share of courses that begin acute. visits: mean number of further episodes of a course. gap: days between
    them. first_acute, first, later: weights of omsorgsniva. stay: mean days of a stay. died: share of last
    stays, for the age in between.
    """

    key: str
    name: str
    fag: str
    sektor: str
    off_avd: str
    groups: tuple[int, ...]
    weight: float
    codes: Weights
    also: tuple[str, ...]
    procedures: tuple[tuple[str, str], ...]  # letter of list 8410, code
    kind: str = "somatic"  # somatic | mental | tsb | cancer | birth | newborn
    place: int = 0
    service: str = "41"
    acute: float = 0.2
    visits: float = 2.5
    gap: int = 40
    first_acute: Weights = field(default_factory=lambda: {"1": 0.75, "3": 0.25})
    first: Weights = field(default_factory=lambda: {"1": 0.12, "2": 0.12, "3": 0.76})
    later: Weights = field(default_factory=lambda: {"1": 0.08, "2": 0.08, "3": 0.84})
    stay: float = 4.0
    died: float = 0.0
    staff: Weights = field(default_factory=lambda: {"1": 0.8, "2": 0.15, "14": 0.05})
    indirect: float = 0.02
    ward: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """One reporting unit. places: name, organisation number (underenhet) and local name of each treatment place.

    debitor: weights for residents. homes: weights of the keys of HOMES. newborns: share of the patients.
    """

    name: str
    institution: str
    places: tuple[tuple[str, str, str], ...]
    departments: tuple[Department, ...]
    debitor: Weights
    homes: Weights
    newborns: float
    costs: bool


MED_ALSO = ("I10", "E119", "E785", "Z921", "D649", "E876")
SURGERY_ALSO = ("Z720", "E669", "K590", "Z886")
MIND_ALSO = ("F101", "Z602", "F432", "F172")
TSB_ALSO = ("B182", "Z590", "F172", "Z602")
CHILD_ALSO = ("L209", "R509", "H669")
TALK: Weights = {"4": 0.5, "1": 0.2, "2": 0.15, "5": 0.1, "7": 0.05}
CLINIC: Weights = {"1": 0.03, "2": 0.02, "3": 0.95}
STAYS: Weights = {"1": 1.0}

ORTHOPAEDICS = Department(
    "ORT", "Ortopedisk avdeling", "050", "620", "050", ALL_AGES, 1.6,
    {"M169": 2, "M171": 2, "M232": 1.5, "S525": 2, "S826": 1.2, "S420": 0.8, "M751": 1.5, "S720": 0.8},
    SURGERY_ALSO,
    (("R", "SNG0AA"), ("K", "NGD11"), ("R", "SNF0AA"), ("K", "NFB20"), ("K", "NCJ65"), ("K", "NBA11"), ("K", "NGB40")),
    acute=0.35, stay=4.5, died=0.03,
)  # fmt: skip
EYE = Department(
    "ØYE", "Øyeavdeling", "300", "620", "300", (WOMAN, MAN, OLD_WOMAN, OLD_MAN), 1.0,
    {"H251": 3, "H402": 1.5, "H353": 2, "E103": 1}, ("I10", "E785", "Z922"), (("K", "CJE20"), ("M", "WBGM00")),
    acute=0.02, visits=3, gap=60, first={"2": 0.3, "3": 0.7}, later={"2": 0.15, "3": 0.85}, ward=False,
)  # fmt: skip
TSB = Department(
    "RUS", "Avdeling for rus- og avhengighetsbehandling", "360", "681", "360", (YOUNG_WOMAN, WOMAN, MAN), 0.5,
    {"F102": 4, "F112": 2, "F122": 1.5, "F192": 2, "F132": 1, "F152": 1}, TSB_ALSO,
    (("M", "IAAD00"), ("M", "IBDA00"), ("M", "IBBB00"), ("M", "IBEC00")),
    kind="tsb", service="42", acute=0.08, visits=6, gap=16, first={"1": 0.3, "3": 0.7}, later=CLINIC, stay=24,
    staff=TALK, indirect=0.06,
)  # fmt: skip

TRUST = Profile(
    name="Nordfjell sjukehus",
    institution="900000014",
    places=(("Nordfjell sjukehus, Bjørnøy", "900000103", "BJØ"), ("Nordfjell sjukehus, Skårvågen", "900000111", "SKÅ")),
    departments=(
        Department(
            "MED", "Medisinsk avdeling", "110", "620", "110", ADULTS, 2.2,
            {"I509": 2, "J189": 2, "J441": 2, "I489": 1.6, "R074": 1.6, "A419": 0.6, "I639": 0.8, "E112": 0.8,
             "K573": 0.8, "I209": 1, "R55": 0.7}, MED_ALSO,
            (("M", "FPFE15"), ("M", "GDFC00"), ("R", "SAA0AD"), ("M", "FPFE50"), ("M", "WBGM00"), ("M", "REGG00")),
            acute=0.5, visits=1.8, gap=25, stay=4.5, died=0.45,
        ),
        Department(
            "NYR", "Nyremedisinsk seksjon", "180", "620", "180", (WOMAN, MAN, OLD_WOMAN, OLD_MAN), 0.25,
            {"N185": 4, "N184": 1}, ("I10", "D649", "E785"), (("M", "KAGD40"), ("M", "JAGD31"), ("M", "KAGD40")),
            acute=0.05, visits=14, gap=5, first={"2": 0.5, "3": 0.5}, later={"2": 0.9, "3": 0.1}, died=0.1,
        ),
        Department(
            "KIR", "Kirurgisk avdeling", "010", "620", "010", ALL_AGES, 1.5,
            {"K802": 2, "K409": 2, "K358": 1.5, "K573": 1, "N201": 1, "R101": 1.5, "K429": 0.7}, SURGERY_ALSO,
            (("K", "JKA21"), ("K", "JAB30"), ("K", "JEA01"), ("K", "JFA15"), ("R", "SAA0AD")),
            acute=0.45, visits=1.3, stay=3, died=0.06,
        ),
        ORTHOPAEDICS,
        Department(
            "URO", "Urologisk seksjon", "070", "620", "070", MEN, 0.8,
            {"N40": 3, "C61": 1.5, "N201": 1}, SURGERY_ALSO, (("K", "KED22"), ("M", "WBGM00")), place=1, acute=0.15,
        ),
        Department(
            "GYN", "Gynekologisk avdeling", "200", "620", "200", WOMEN, 0.8,
            {"N920": 2, "N812": 1.5, "D259": 1.2}, SURGERY_ALSO, (("K", "LCA10"), ("K", "LCD00")), acute=0.15,
        ),
        Department(
            "FØD", "Fødeavdeling", "200", "620", "201", (YOUNG_WOMAN,), 0.7,
            {"O680": 2, "O701": 2, "O149": 0.6, "O342": 0.8}, ("Z370",), (("M", "MAFE05"), ("K", "MCA10")),
            kind="birth", acute=1.0, visits=0.2, first_acute=STAYS, later={"3": 1.0}, stay=2.5,
            staff={"8": 0.7, "1": 0.3},
        ),
        Department(
            "NYF", "Nyfødtavdeling", "220", "620", "221", (NEWBORN,), 1.0,
            {"Z380": 1}, ("P599", "P221", "P080"), (("M", "WBGM00"),),
            kind="newborn", acute=1.0, visits=0.25, gap=8, first_acute=STAYS, later={"1": 0.5, "3": 0.5}, stay=2.5,
            staff={"8": 0.3, "1": 0.4, "2": 0.3},
        ),
        Department(
            "BAR", "Barneavdeling", "220", "620", "220", (CHILD,), 3.0,
            {"J459": 2, "J219": 2, "A099": 1.5, "R568": 1, "G409": 1, "E109": 1, "J050": 0.7}, CHILD_ALSO,
            (("M", "GDFC00"), ("M", "AAFE00"), ("M", "WBGM00")), acute=0.45, visits=2, stay=2.2,
        ),
        Department(
            "ØNH", "Øre-nese-halsavdeling", "290", "620", "290", ALL_AGES, 0.9,
            {"J353": 2, "J342": 1, "H905": 2, "H669": 1.5}, ("J459", "L209", "R42"),
            (("K", "EMB20"), ("K", "DCA20"), ("M", "DXFX11"), ("K", "EMB10")),
            place=1, acute=0.06, visits=1.4, stay=1.5,
        ),
        EYE,
        Department(
            "ONK", "Kreftavdeling", "853", "620", "853", (WOMAN, MAN, OLD_WOMAN, OLD_MAN), 0.35,
            {"C509": 3, "C189": 2, "C349": 2}, ("C787", "C795", "D649", "Z515"), (("M", "WBOC05"), ("M", "WBGM00")),
            kind="cancer", acute=0.2, visits=9, gap=12, first={"1": 0.3, "2": 0.2, "3": 0.5},
            later={"1": 0.2, "2": 0.35, "3": 0.45}, stay=5, died=0.8,
        ),
        Department(
            "VOP", "Distriktspsykiatrisk senter Sæterlia", "320", "642", "320", ADULTS, 1.0,
            {"F321": 2, "F331": 2, "F411": 1.5, "F431": 1.5, "F200": 1, "F319": 1, "F603": 1, "F900": 1}, MIND_ALSO,
            (("M", "IAAA00"), ("M", "IBBB00"), ("M", "IAAB00"), ("M", "IBBA00"), ("M", "IBDC00")),
            kind="mental", place=1, service="44", acute=0.12, visits=5.5, gap=18, first={"1": 0.12, "3": 0.88},
            later=CLINIC, stay=14, staff=TALK, indirect=0.08,
        ),
        Department(
            "BUP", "Barne- og ungdomspsykiatrisk poliklinikk", "310", "651", "310", (CHILD,), 1.4,
            {"F900": 3, "F930": 1, "F840": 1, "F952": 0.5, "F432": 1}, ("Z032", "F432"),
            (("M", "IAAC00"), ("M", "IBBF00"), ("M", "IDAA00")),
            kind="mental", place=1, service="44", acute=0.03, visits=5, gap=20, first={"3": 1.0}, later={"3": 1.0},
            staff=TALK, indirect=0.12, ward=False,
        ),
        TSB,
    ),
    debitor={"1": 0.97, "22": 0.01, "24": 0.01, "99": 0.01},
    homes={"local": 0.84, "city": 0.08, "other": 0.074, "abroad": 0.006},
    newborns=0.03,
    costs=True,
)  # fmt: skip

PRIVATE = Profile(
    name="Sørvik private sykehus",
    institution="900000022",
    # A line break and a comma in one value: what a careless splitter of lines or fields falls over.
    places=(("Sørvik private sykehus", "900000200", "Strandgårdsveien 4,\ninngang Vest"),),
    departments=(
        Department(
            "DAG", "Dagkirurgisk avdeling", "010", "620", "010", ADULTS, 1.4,
            {"G560": 2, "M720": 1.2, "M653": 1, "K409": 1.5, "H023": 1}, SURGERY_ALSO,
            (("K", "ACC51"), ("K", "NDM09"), ("K", "JAB30"), ("K", "CBB10")),
            acute=0.0, visits=1.2, first={"2": 0.45, "3": 0.55}, later={"2": 0.2, "3": 0.8}, ward=False,
        ),
        Department(
            "ORT", "Ortopedisk seksjon", "050", "620", "050", ADULTS, 1.0,
            {"M169": 2, "M171": 2, "M232": 2, "M751": 1.5, "M201": 1}, SURGERY_ALSO,
            (("K", "NGD11"), ("K", "NFB40"), ("R", "SNG0AA"), ("K", "NBA11")), acute=0.0, visits=1.6, stay=3,
        ),
        EYE,
        TSB,
        Department(
            "LAR", "Legemiddelassistert rehabilitering, Sørvik", "365", "681", "365", (YOUNG_WOMAN, WOMAN, MAN), 0.5,
            {"F112": 1}, TSB_ALSO, (("M", "IAAD00"), ("M", "IBDC00")),
            kind="tsb", service="42", acute=0.0, visits=9, gap=14, first={"3": 1.0}, later={"3": 1.0}, staff=TALK,
            indirect=0.08, ward=False,
        ),
    ),
    debitor={"80": 0.72, "1": 0.14, "60": 0.06, "30": 0.04, "90": 0.04},
    homes={"local": 0.55, "city": 0.3, "other": 0.15},
    newborns=0.0,
    costs=False,
)  # fmt: skip

PROFILES = {"nordfjell": TRUST, "sorvik": PRIVATE}

# Where patients live: municipality before and from 2020, number of bydeler (0 = none), weight within the kind.
HOMES: Mapping[str, tuple[tuple[str, str, int, float], ...]] = {
    "local": (("1401", "4602", 0, 3), ("1432", "4647", 0, 3), ("1443", "4649", 0, 2), ("1445", "4650", 0, 2),
              ("1449", "4651", 0, 2), ("1420", "4640", 0, 2), ("1411", "4635", 0, 1)),
    "city": (("0301", "0301", 15, 3), ("1201", "4601", 8, 3), ("5001", "5001", 4, 1), ("1103", "1103", 7, 1)),
    "other": (("0219", "3024", 0, 1), ("1804", "1804", 0, 1), ("1902", "5401", 0, 1), ("1504", "1507", 0, 2),
              ("1106", "1106", 0, 1), ("1149", "1149", 0, 1)),
    "abroad": (("9900", "9900", 0, 1),),
}  # fmt: skip

# A main code that another code belongs to: cause first, then its manifestation.
PAIRS = {"E103": "H360", "E112": "N083"}
SIDES = ("ZXA00", "ZXA05")
RADIOTHERAPY = "WEOA00"

# Month 1..12: how much goes on. Planned care rests in July and around Christmas.
PLANNED_MONTHS = (1.0, 1.0, 1.1, 0.95, 1.0, 1.05, 0.5, 0.95, 1.1, 1.1, 1.1, 0.8)
ACUTE_MONTHS = (1.15, 1.1, 1.05, 1.0, 0.95, 0.95, 0.95, 0.95, 1.0, 1.0, 1.05, 1.1)
# Monday..Sunday
PLANNED_WEEK = (1.05, 1.1, 1.1, 1.05, 0.9, 0.04, 0.02)
ACUTE_WEEK = (1.1, 1.0, 1.0, 1.0, 1.05, 0.95, 0.95)
# Hours 0..23 of an acute arrival.
ACUTE_HOURS = (2, 2, 1, 1, 1, 1, 2, 3, 4, 6, 7, 8, 8, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, 3)

FROM_PLACES = ("900000308", "900000316", "900000324")  # referring surgeries, invented
OTHER_HOSPITAL = "900000405"  # invented
COST_CODES = ("LEGE", "SENGEDOGN", "OPERASJON", "LAB", "RADIOLOGI", "MEDIKAMENT")
DRGS = ("127", "88", "89", "143", "209E", "373", "391", "39O", "167", "140")

# Items of the TSB form: column and its weights (Volven 8717, 8727, 8728, 8746, 8748, 8747, 8715, 8709, 8744, 8721,
# 8707, 8708, 8725).
TSB_ITEMS: Mapping[str, Weights] = {
    "hovedrusmiddel": {"1": 4, "2": 2, "3": 1, "8": 1, "10": 2, "11": 1, "20": 0.3},
    "inntaksmate": {"1": 4, "2": 1, "3": 2, "4": 2, "9": 0.3},
    "brukshyppighet": {"1": 0.5, "2": 0.5, "3": 1, "4": 2, "5": 1.5, "6": 3, "9": 0.2},
    "injisering": {"1": 5, "2": 1, "3": 1, "4": 1, "8": 0.2, "9": 0.2},
    "sproytedeling": {"1": 6, "2": 1, "3": 0.5, "4": 0.3, "8": 0.2, "9": 0.2},
    "substitusjonsbehandling": {"1": 5, "2": 2, "9": 0.3},
    "tidligereBehandling": {"1": 1, "2": 1, "3": 2, "4": 2, "5": 1, "8": 3},
    "boforhold": {"1": 0.4, "2": 0.6, "3": 0.5, "4": 5, "5": 2, "8": 0.3},
    "samliv": {"1": 4, "2": 1, "3": 2, "4": 0.6, "5": 1.5, "6": 0.6},
    "omsorgForBarn": {"1": 2, "3": 2, "5": 1, "6": 0.6, "8": 4},
    "utdanning": {"1": 0.4, "2": 3, "3": 4, "4": 2, "5": 1, "9": 0.3},
    "arbeid": {"1": 6, "2": 2, "3": 1, "4": 0.6, "9": 0.2},
    "inntekt": {"2": 2, "4": 0.6, "5": 1, "9": 3, "12": 2, "13": 0.5},
}
