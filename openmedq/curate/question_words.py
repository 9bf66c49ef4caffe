"""The words of a question: how its text becomes words, and which of them make it another question.

Negations, numbers, units, opposites and organs are closed classes, so they can be listed: questions that differ in one
of them are different. Findings, drugs and organisms cannot be listed; `has_terms` knows them by their Latin and Greek
endings.
"""

import re
import string
from difflib import get_close_matches
from itertools import chain, combinations

from openmedq.curate.fingerprints import normalize_text

Words = list[str]

ALIKE = 0.75  # ratio of equal characters of a word's inflections and spellings

_SENTENCE_END = re.compile(
    r"(?<=[.?!])\s+|(?<=:)\s+(?=[A-Z])|(?<=\d:)\s+|\n+|(?<=[。？！：])|(?<=[.?!])(?=[\u3400-\u9fff])"
)
# A number is its groups of digits, a unit is a word of its own: 98.6, 98,6 and 98 .6 are equal, 5mm and 5 mm too.
# Chinese has no spaces between words: each character is one.
_WORD = re.compile(r"(?:(?<![\w.])-)?\d+|[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+|[%<>+±≤≥]")
_SPELLINGS = (
    (re.compile(r"<\|?/?[a-z_]+\d*\|?>|\[/?INST\]", re.I), "\n"),  # <image>, <|im_end|>: of prompts
    (re.compile("[\u2010-\u2014\u2212]"), "-"),
    (re.compile(r"(?<![\w.])(?<!\d\s)\.(?=\d)"), "0."),  # .5
    (re.compile(r"\s*(?:[°º˚]|\bdegrees?\b)\s*", re.I), " "),
    (re.compile(r"\bper ?cent\b", re.I), "%"),
    (re.compile(r"\b(?:yes\s*(?:/|,|or)\s*no(?:\W+(?:or\W+)?maybe)?|true\s*(?:/|or)\s*false)\W*$", re.I), ""),
    (re.compile(r"是\s*[/或]\s*否\W*$"), ""),
)
_MARK = re.compile(f"[{re.escape(string.punctuation)}]")
_MARK_BETWEEN_WORDS = re.compile(rf"(?:(?<!\d){_MARK.pattern}|{_MARK.pattern}(?!\d))(?=.*\w)", re.S)
_NUMBERING = re.compile(
    r"(?:(?:question|q|item|case|problem|exercise|no|number)\s)*"
    r"(?:q?\d{1,5}(?: \d{1,3}){0,2}|[a-h]|[ivx]{1,5})|q|question"
    r"|(?:第 )?(?:\d{1,5}|[一二三四五六七八九十](?: [一二三四五六七八九十])?)(?: 题)?"
)

# Words that a question can exchange: its grammar, and what medical questions have in common.
_COMMON = """any some within among tell me think explain based looking according provided film radiograph radiology
    a an the this that these those it its he she his her him they their them we you your our i my of in on at
    to by for from with as into onto over under about between through during and or but if then than so also is are was
    were be been being am do does did has have had can could may might shall should will would must there here what
    which who whom whose when where why how following given below above s t very just please
    image picture photo figure scan show shows shown showing see seen seem seems appear appears find found present
    presents presented patient patients person people individual individuals subject subjects case cases child children
    adult adults common commonly frequent frequently cause causes caused etiology reason choice drug drugs agent agents
    medication treatment treatments therapy management investigation test tests diagnosis diagnostic disease disorder
    condition sign signs symptom symptoms finding findings feature features characteristic characteristics associated
    association related relation due owing likely probable possible best next step appropriate explanation consistent
    important effect effects impact role part type kind sort regarding concerning considered known called termed used
    use uses useful using statement statements answer choose select option evidence demonstrates demonstrate reveals
    reveal revealed exhibits depict depicts depicted display displays displayed visible located location situated site
    comes came visits visited complaining complains because history clinic physician doctor hospital"""
_NEGATIONS = """no not never none neither nor without except cannot don doesn didn isn aren wasn weren won wouldn
    shouldn couldn hasn haven hadn non false incorrect wrong deny denies denied denying lack lacks lacking absence"""
_NUMBERS = """one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy
    eighty ninety hundred thousand half double first second third fourth fifth"""
_UNITS = """% mg g kg mcg ug µg μg ng pg ml l dl cl ul µl mmol mol µmol μmol umol nmol meq iu u mm cm m km nm hg mmhg
    kpa mgdl seconds minute minutes hour hours day days week weeks month months year years bpm hz khz mhz db kcal gy
    mgy rad sv msv ppm f c celsius fahrenheit"""
_OPPOSITES = """left right bilateral unilateral both; most least; more less fewer; greater smaller; higher lower;
    high low; large small; upper lower; anterior posterior; medial lateral; proximal distal; superior inferior;
    dorsal ventral; cranial caudal; internal external; increase decrease reduce; increased decreased reduced
    elevated; increases decreases reduces; increasing decreasing; male female; man woman; men women; boy girl;
    mother father; brother sister; son daughter; acute chronic subacute; before after during; early late; benign
    malignant; positive negative; normal abnormal; absent present; always never rarely; correct incorrect; true
    false; old young; arterial venous; artery vein; systolic diastolic; sensory motor; primary secondary; direct
    indirect; open closed; active passive; wet dry; maximum minimum; sensitivity specificity; aerobic anaerobic;
    afferent efferent; white gray grey; axial sagittal coronal; fast slow; long short; hot cold; inspiration
    expiration; flexion extension; abduction adduction; < >; cause causes causing treat treats treating prevent
    prevents preventing; superficial deep; origin insertion; 左 右 双; 上 下; 前 后; 内 外; 男 女; 高 低; 大 小;
    增 减; 升 降; 急 慢; 阴 阳; 良 恶"""
# Names of one organ; groups end at commas.
_ORGANS = """abdomen abdominal belly, chest thorax thoracic, back, head cranial skull, neck cervix cervical, leg legs,
    arm arms, hand hands, foot feet, knee, hip, shoulder, elbow, wrist, ankle, finger fingers, toe toes, eye
    eyes ocular, ear ears, nose nasal, mouth oral, tongue lingual, lip lips, tooth teeth dental, gum gums
    gingiva gingival, throat pharynx pharyngeal, larynx laryngeal, face facial, jaw mandible mandibular, maxilla
    maxillary, skin cutaneous, scalp, brain cerebral, cerebellum cerebellar, spine spinal, heart cardiac, lung
    lungs pulmonary, pleura pleural, pericardium pericardial, trachea tracheal, bronchus bronchial, esophagus
    esophageal oesophagus oesophageal, stomach gastric, duodenum duodenal, jejunum jejunal, ileum ileal, bowel
    intestine intestinal, colon colonic colorectal, rectum rectal, anus anal, appendix, liver hepatic,
    gallbladder, bile biliary, pancreas pancreatic, spleen splenic, kidney kidneys renal, ureter ureteric,
    bladder, urethra urethral, prostate prostatic, testis testes testicular, ovary ovaries ovarian, uterus
    uterine, vagina vaginal, breast breasts mammary, thyroid, parathyroid, adrenal, pituitary, thymus, retina
    retinal, cornea corneal, lens, optic, bone bones, muscle muscles, joint joints, tendon tendons, nerve
    nerves, femur femoral, tibia tibial, fibula, humerus, radius radial, ulna ulnar, median, axilla axillary,
    carotid, aorta aortic, mitral, tricuspid, frontal, parietal, temporal, occipital, 头, 脑, 眼, 耳, 颈, 胸,
    腹, 心, 肺, 肝, 胆, 胰, 脾, 肾, 胃, 肠, 膀, 骨"""
_TERM = re.compile(
    r"\w{3,}(?:oid|ia|is|us|um|ine|ol|ide|cyte|gen|ism|ose)s?|\w{5,}(?:al|ic|ous|ar|ary|in|one|ate)|\w{10,}"
)
WEAK_ANSWERS = frozenset(
    ("yes", "no", "maybe", "true", "false", "none", "unknown", "present", "absent", *"是否有无不没包含")
)
_PREFIXES = re.compile(
    "^(?:hyper|hypo|un|in|im|ir|non|anti|pre|post|intra|extra|inter|endo|exo|ecto|macro|micro|brady|tachy|dis|mal|ab|ad"
    "|de|a)"
)

# Chinese words of each kind, a character each.
_CHINESE = (
    "的是了在吗呢这那张图像片中里什么哪个有被和与或请为属于下列患者该其最可能",
    "不没无非未否勿除",
    "二三四五六七八九十百千半两",
    "年月周日天岁时分秒克",
)
_IS_COMMON, _IS_NEGATION, _IS_NUMBER, _IS_UNIT = (
    frozenset((*words.split(), *chinese))
    for words, chinese in zip((_COMMON, _NEGATIONS, _NUMBERS, _UNITS), _CHINESE, strict=True)
)
_IS_OPPOSITE = {frozenset(pair) for line in _OPPOSITES.split(";") for pair in combinations(line.split(), 2)}
_ORGAN_OF = {name: group.split()[0] for group in _ORGANS.split(",") for name in group.split()}


def list_words(text: str) -> Words:
    """The words, units and groups of digits of a text."""
    return [*chain(*split_sentences(text))]


def split_sentences(text: str) -> list[Words]:
    """The words of each sentence."""
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    sentences = [_WORD.findall(normalize_text(sentence)) for sentence in _SENTENCE_END.split(text)]
    return [words for words in sentences if words]


def has_lost_punctuation(one: str, other: str) -> bool:
    """Whether one of two texts has no punctuation, and the other has some that is no part of a number."""
    bare, marked = sorted((one, other), key=lambda text: len(_MARK.findall(text)))
    return not _MARK.search(bare) and _MARK_BETWEEN_WORDS.search(marked) is not None


def strip_numbering(stem: list[Words], other: list[Words]) -> list[Words]:
    """Remove "Question 12:" or "12." at the start, if a sentence of the other stem starts with what follows."""
    words, starts = [*chain(*stem)], [sentence[:1] for sentence in other]
    for size in range(1, 4):
        if words[size : size + 1] in starts and _NUMBERING.fullmatch(" ".join(words[:size])):
            rest = []
            for sentence in stem:
                rest.append(sentence[size:])
                size = max(0, size - len(sentence))
            return [sentence for sentence in rest if sentence]
    return stem


def is_weak(words: Words) -> bool:
    """Whether an answer is of a kind that many questions have."""
    return all(word in WEAK_ANSWERS or word.isdecimal() for word in words)


def count_content(words: Words) -> int:
    """The number of words that are particular to a question."""
    return sum(word not in _IS_COMMON for word in words)


def is_decisive(left: Words, right: Words) -> bool:
    """Whether questions that differ in these words are different: by a negation, a number or a unit."""
    words = left + right
    is_measured = not (_IS_UNIT.isdisjoint(left) or _IS_UNIT.isdisjoint(right))
    return is_measured or has_digits(words) or any(word in _IS_NEGATION or word in _IS_NUMBER for word in words)


def count_words(words: Words) -> float:
    """The number of words; two Chinese characters are about one."""
    return sum(0.5 if "\u3400" <= word <= "\u9fff" else 1 for word in words)


def has_digits(words: Words) -> bool:
    """Whether there is a number."""
    return any(char.isdigit() for word in words for char in word)


def has_opposites(left: Words, right: Words) -> bool:
    """Whether a word on one side excludes a word on the other."""
    return any(_is_opposite(word, other) for word in left for other in right)


def has_terms(words: Words) -> bool:
    """Whether one of the words looks like a medical term."""
    return any(word not in _IS_COMMON and _TERM.fullmatch(word) for word in words)


def drop_alike(left: Words, right: Words) -> tuple[Words, Words]:
    """Remove words whose inflection, other spelling or synonym is on the other side."""
    others = list(right)
    rest = []
    for word in left:
        matches = get_close_matches(word, others, n=1, cutoff=ALIKE if len(word) > 3 else 1.0)
        matches += [other for other in others if word in _ORGAN_OF and _ORGAN_OF[word] == _ORGAN_OF.get(other)]
        if matches and not (is_decisive([word], matches[:1]) or _is_opposite(word, matches[0])):
            others.remove(matches[0])
        else:
            rest.append(word)
    return rest, others


def _is_opposite(word: str, other: str) -> bool:
    """As left and right, kidney and liver, hyperkalemia and hypokalemia, typical and atypical."""
    if word == other:
        return False
    if frozenset((word, other)) in _IS_OPPOSITE:
        return True
    if word in _ORGAN_OF and other in _ORGAN_OF:
        return _ORGAN_OF[word] != _ORGAN_OF[other]
    roots = {word, _PREFIXES.sub("", word, count=1)} & {other, _PREFIXES.sub("", other, count=1)}
    return any(len(root) > 3 for root in roots)
