"""What is looked for: every type of personal data with the words that speak for it, and the rules that find it.

A rule is a shape, a check and a score: how likely it is that what has the shape and passes the check is personal data, with
nothing around it to say so. Words of the type nearby raise it (`pii_finder.LIFT`). A rule below 0.5 therefore counts only
beside such words: a nine-digit number passes the Dutch checksum once in eleven times, and is a BSN only where the
text says so. Types bear the names that Presidio gives them, where it has one.

`run` shapes are matched on runs of digits (`pii_finder.RUN`), `text` shapes (RE2) on the whole text. All are bounded in
length, and written for a text in which every character outside ASCII is one of three (see `pii_finder.flat`).

Not covered: countries that are not listed, numbers without checksum or context, numbers written in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from trivet.monitoring.guards import pii_checks as checks
from trivet.monitoring.guards.pii_checks import stdnum

SURE = 0.9
WEAK = 0.3


class Kind(NamedTuple):
    """A type of personal data, the words that speak for it, and the country whose number it is."""

    name: str
    context: str = ""
    region: str = ""
    default: bool = True


class Rule(NamedTuple):
    """One way to find a type. `shape` is anchored by the finder: no letter or digit may touch it."""

    kind: str
    score: float
    shape: str
    check: Callable[[str], bool] = bool
    run: bool = True


_ACCOUNT = "account number|account no|account #|account:|acct|bank account|checking account|savings account"
_PASSPORT = "passport|passports|reisepass|passeport|pasaporte|passaporto|paszport|paspoort|護照|护照|パスポート|паспорт"
_LICENCE = "driver license|driver's license|drivers license|driver licence|driving licence|driving license|dl number|dl#|licence number"
_BORN = (
    "born|dob|d.o.b|birth|my birthday|birthday is|birthday:|birthdate|date of birth|geboren|geburtsdatum|geburtstag|né le|née le|naissance|nacido|nacida|"
    "nacimiento|nato il|nata il|nascita|nascimento|geboortedatum|född|urodzony|urodzona|urodzenia|生年月日|出生|생년월일"
)
_CALL = (
    "phone|phones|telephone|tel|mobile|cell|cellphone|call|called|calling|calls|fax|text me|sms|whatsapp|dial|ring|reach|contact|hotline|"
    "number is|messages to|message to|my number|registered|office|desk|handy|telefon|telefonnummer|rufnummer|mobil|mobilnummer|"
    "téléphone|portable|appeler|teléfono|móvil|celular|llamar|telefono|cellulare|telefone|telemóvel|telefoon|nummer|puhelin|"
    "电话|手机|電話|携帯|전화|휴대폰|телефон"
)
_CARD = (
    "card|cards|credit|debit|cc|visa|mastercard|amex|american express|maestro|diners|discover|jcb|pan|kreditkarte|karte|carte|tarjeta|"
    "carta di credito|cartão|kaart|信用卡|クレジットカード|карта|карты"
)
_SITE = "my website|my site|my web site|my homepage|my home page|my blog|my profile|my portfolio|website:|homepage:|linkedin|website is"

KINDS: tuple[Kind, ...] = (
    Kind("SECRET"),
    Kind("EMAIL_ADDRESS"),
    Kind("IBAN_CODE", "iban|bank|transfer"),
    Kind("CREDIT_CARD", _CARD),
    Kind("US_SSN", "ssn|ssns|ss#|social security|soc sec|social-security", "US"),
    Kind("US_ITIN", "itin|individual taxpayer|taxpayer", "US"),
    Kind("US_MBI", "mbi|medicare|beneficiary", "US"),
    Kind("MEDICAL_LICENSE", "dea|prescriber|medical license", "US"),
    Kind("ABA_ROUTING_NUMBER", "aba|routing|rtn", "US"),
    Kind("US_PASSPORT", _PASSPORT, "US"),
    Kind("US_DRIVER_LICENSE", _LICENCE, "US"),
    Kind("US_BANK_NUMBER", _ACCOUNT, "US"),
    Kind("CA_SIN", "social insurance|sin number|sin:|nas number|assurance sociale", "CA"),
    Kind("MX_CURP", "curp", "MX"),
    Kind("BR_CPF", "cpf", "BR"),
    Kind("UK_NINO", "national insurance|nino|ni number", "GB"),
    Kind("UK_NHS", "nhs|national health", "GB"),
    Kind(
        "DE_TAX_ID",
        "steuer-id|steuer id|steueridentifikationsnummer|steuernummer|idnr|identifikationsnummer|tax id|tin",
        "DE",
    ),
    Kind("FR_NIR", "nir|sécurité sociale|securite sociale|numéro de sécu|insee", "FR"),
    Kind("ES_NIF", "dni|nif|documento", "ES"),
    Kind("ES_NIE", "nie|extranjero|documento", "ES"),
    Kind("IT_FISCAL_CODE", "codice fiscale|fiscal code", "IT"),
    Kind("NL_BSN", "bsn|burgerservicenummer|burgerservice|sofinummer", "NL"),
    Kind(
        "BE_NATIONAL_NUMBER",
        "rijksregister|rijksregisternummer|registre national|national register|nationaal nummer",
        "BE",
    ),
    Kind("CH_AHV", "ahv|avs|ahv-nummer|sozialversicherungsnummer", "CH"),
    Kind("PL_PESEL", "pesel", "PL"),
    Kind("SE_PERSONNUMMER", "personnummer|personal identity number|samordningsnummer|swedish", "SE"),
    Kind("FI_PERSONAL_IDENTITY_CODE", "hetu|henkilötunnus|personal identity code", "FI"),
    Kind("DK_CPR", "cpr|cpr-nummer|personnummer", "DK"),
    Kind("NO_FODSELSNUMMER", "fødselsnummer|fodselsnummer|personnummer", "NO"),
    Kind("TR_NATIONAL_ID", "tckn|tc kimlik|kimlik|t.c. kimlik", "TR"),
    Kind("ZA_ID_NUMBER", "id number|south african|identity number|rsa id", "ZA"),
    Kind("IN_AADHAAR", "aadhaar|aadhar|uidai|आधार", "IN"),
    Kind("IN_PAN", "pan|permanent account|income tax", "IN"),
    Kind("CN_RESIDENT_ID", "身份证|身份證|resident id|id card|公民身份", "CN"),
    Kind("JP_MY_NUMBER", "my number|マイナンバー|個人番号|individual number", "JP"),
    Kind("KR_RRN", "rrn|주민등록번호|주민번호|resident registration", "KR"),
    Kind("SG_NRIC_FIN", "nric|fin", "SG"),
    Kind("TH_TNIN", "เลขประจำตัวประชาชน|thai id|thai national|national id", "TH"),
    Kind("AU_TFN", "tfn|tax file", "AU"),
    Kind("AU_MEDICARE", "medicare", "AU"),
    Kind("PASSPORT", _PASSPORT),
    Kind("CRYPTO", "wallet|bitcoin|btc|ethereum|eth|crypto|address is"),
    Kind("IP_ADDRESS", "ip|ips|ipv4|ipv6|address|host"),
    Kind("MAC_ADDRESS", "mac|hardware address|ethernet"),
    Kind("URL", _SITE),
    Kind("DATE_OF_BIRTH", _BORN),
    Kind("PHONE_NUMBER", _CALL),
    Kind("DATE_TIME", "date|on|since|until", default=False),
)
BY_NAME = {kind.name: kind for kind in KINDS}

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTH = {name: number for number, name in enumerate(_MONTHS.split(), start=1)}
_NAMED = (
    "(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
DATE = (
    r"(?:\d{1,2}[./-]\d{1,2}[./-]\d{2}(?:\d{2})?|\d{4}[./-]\d{1,2}[./-]\d{1,2}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[ -](?:of )?{_NAMED}\.?,?[ -]\d{{4}}|{_NAMED}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
)


def date(text: str) -> bool:
    """A day that the calendar has, in a year from 1900 to 2099 where four digits name it; day or month may be first."""
    words = re.findall(r"\d+|[A-Za-z]+", text)
    numbers = [int(w) for w in words if w.isdigit()]
    year = next((int(w) for w in words if len(w) == 4 and w.isdigit()), None)
    if year is not None and not 1900 <= year <= 2099:
        return False
    month = next((_MONTH[w[:3].lower()] for w in words if w[:3].lower() in _MONTH), None)
    rest = [n for n in numbers if n != year] if year is not None else numbers[:2]
    if month is not None:
        return len(rest) == 1 and 1 <= rest[0] <= 31
    return len(rest) == 2 and 1 <= min(rest) <= 12 and 1 <= max(rest) <= 31


def _nino(text: str) -> bool:
    return text[:2].upper() not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def _letters_and_digits(text: str) -> bool:
    return sum(c.isdigit() for c in text) >= 5


RULES: tuple[Rule, ...] = (
    # In runs of digits.
    Rule("CREDIT_CARD", 0.8, r"\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?", checks.luhn),
    Rule("CREDIT_CARD", 0.8, r"\d{4}([ -])\d{6}\1\d{4,5}", checks.luhn),
    Rule("CREDIT_CARD", 0.6, r"\d(?:([ -])\d)(?:\1\d){11,17}", checks.luhn),
    Rule("CREDIT_CARD", 0.7, r"\d{14,16}", checks.luhn),
    Rule("CREDIT_CARD", 0.5, r"\d{2,8}(?:[ -]\d{2,8}){1,5}", lambda text: len(re.sub(r"\D", "", text)) > 12 and checks.luhn(text)),
    Rule("CREDIT_CARD", WEAK, r"\d{12,13}|\d{17,19}", checks.luhn),
    Rule("US_SSN", 0.7, r"\d{3}-\d{2}-\d{4}", checks.ssn),
    Rule("US_SSN", 0.62, r"\d{3} \d{2} \d{4}", checks.ssn),
    Rule("US_SSN", WEAK, r"\d{9}|\d{3}\.\d{2}\.\d{4}", checks.ssn),
    Rule("US_ITIN", 0.6, r"9\d{2}-\d{2}-\d{4}", stdnum("us.itin")),
    Rule("US_ITIN", WEAK, r"9\d{2} ?\d{2} ?\d{4}", stdnum("us.itin")),
    Rule("ABA_ROUTING_NUMBER", WEAK, r"\d{9}|\d{4}-\d{4}-\d", checks.aba),
    Rule("US_BANK_NUMBER", WEAK, r"\d{8,17}"),
    Rule("US_PASSPORT", WEAK, r"\d{9}"),
    Rule("US_DRIVER_LICENSE", WEAK, r"\d{7,12}"),
    Rule("CA_SIN", WEAK, r"\d{3}([ -]?)\d{3}\1\d{3}", stdnum("ca.sin")),
    Rule("BR_CPF", 0.75, r"\d{3}\.\d{3}\.\d{3}-\d{2}", stdnum("br.cpf")),
    Rule("BR_CPF", WEAK, r"\d{9}-?\d{2}", stdnum("br.cpf")),
    Rule("UK_NHS", 0.45, r"\d{3}([ -]?)\d{3}\1\d{4}", stdnum("gb.nhs")),
    Rule("DE_TAX_ID", WEAK, r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", stdnum("de.idnr")),
    Rule("FR_NIR", 0.6, r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d{2} ?\d{3} ?\d{3} ?\d{2}", stdnum("fr.nir")),
    Rule("NL_BSN", WEAK, r"\d{9}|\d{4}[ .]\d{2}[ .]\d{3}", stdnum("nl.bsn")),
    Rule("BE_NATIONAL_NUMBER", 0.75, r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", stdnum("be.nn")),
    Rule("BE_NATIONAL_NUMBER", WEAK, r"\d{6}[ -]?\d{3}[ .-]?\d{2}", stdnum("be.nn")),
    Rule("CH_AHV", 0.8, r"756\.\d{4}\.\d{4}\.\d{2}", stdnum("ch.ssn")),
    Rule("CH_AHV", 0.5, r"756 ?\d{4} ?\d{4} ?\d{2}", stdnum("ch.ssn")),
    Rule("PL_PESEL", WEAK, r"\d{11}", stdnum("pl.pesel")),
    Rule("SE_PERSONNUMMER", 0.6, r"(?:19|20)?\d{6}-\d{4}", stdnum("se.personnummer")),
    Rule("SE_PERSONNUMMER", WEAK, r"(?:19|20)?\d{10}", stdnum("se.personnummer")),
    Rule("DK_CPR", WEAK, r"[0-3]\d[01]\d{3}[ -]?\d{4}", stdnum("dk.cpr")),
    Rule("NO_FODSELSNUMMER", 0.5, r"[0-7]\d[0-9]\d{3} ?\d{5}", stdnum("no.fodselsnummer")),
    Rule("TR_NATIONAL_ID", WEAK, r"[1-9]\d{10}", stdnum("tr.tckimlik")),
    Rule("ZA_ID_NUMBER", WEAK, r"\d{6} ?\d{4} ?\d{3}", stdnum("za.idnr")),
    Rule("IN_AADHAAR", 0.4, r"[2-9]\d{3}([ -])\d{4}\1\d{4}", stdnum("in_.aadhaar")),
    Rule("IN_AADHAAR", WEAK, r"[2-9]\d{11}", stdnum("in_.aadhaar")),
    Rule("CN_RESIDENT_ID", 0.75, r"[1-9]\d{16}[\dXx]", stdnum("cn.ric")),
    Rule("JP_MY_NUMBER", WEAK, r"\d{4}([ -]?)\d{4}\1\d{4}", stdnum("jp.in_")),
    Rule("KR_RRN", 0.7, r"\d{2}[01]\d[0-3]\d-\d{7}", stdnum("kr.rrn")),
    Rule("KR_RRN", WEAK, r"\d{2}[01]\d[0-3]\d{8}", stdnum("kr.rrn")),
    Rule("TH_TNIN", 0.7, r"\d-\d{4}-\d{5}-\d{2}-\d", stdnum("th.pin")),
    Rule("TH_TNIN", WEAK, r"\d{13}", stdnum("th.pin")),
    Rule("AU_TFN", WEAK, r"\d{3} ?\d{3} ?\d{2,3}", stdnum("au.tfn")),
    Rule("AU_MEDICARE", WEAK, r"[2-6]\d{3} ?\d{5} ?\d"),
    # In the whole text.
    Rule("UK_NINO", 0.6, r"[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z] ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]", _nino, False),
    Rule("ES_NIF", 0.5, r"\d{8}-?[A-Za-z]", stdnum("es.dni"), False),
    Rule("ES_NIE", 0.6, r"[XYZxyz]-?\d{7}-?[A-Za-z]", stdnum("es.nie"), False),
    Rule("IT_FISCAL_CODE", 0.85, r"(?i:[A-Z]{6}[\dLMNP-V]{2}[A-EHLMPRST][\dLMNP-V]{2}[A-Z][\dLMNP-V]{3}[A-Z])", stdnum("it.codicefiscale"), False),
    Rule("FI_PERSONAL_IDENTITY_CODE", 0.75, r"[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", stdnum("fi.hetu"), False),
    Rule("MX_CURP", 0.85, r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z\d]\d", stdnum("mx.curp"), False),
    Rule("IN_PAN", 0.5, r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", stdnum("in_.pan"), False),
    Rule("SG_NRIC_FIN", 0.55, r"[STFGM]\d{7}[A-Z]", checks.nric, False),
    Rule("US_MBI", 0.5, r"[1-9][AC-HJKMNP-RT-Y][\dAC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][\dAC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}", bool, False),
    Rule("MEDICAL_LICENSE", 0.4, r"[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}", checks.dea, False),
    Rule("US_PASSPORT", WEAK, r"[A-Z]\d{8}", bool, False),
    Rule("PASSPORT", WEAK - 0.02, r"[A-Z]{1,2}\d{6,8}|[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ\d]{8}|\d{2}[A-Z]{2}\d{5}", _letters_and_digits, False),
    Rule("US_DRIVER_LICENSE", WEAK, r"[A-Z]{1,2}\d{4,13}|[A-Z]\d{3}(?:[ -]\d{2,4}){2,4}", bool, False),
    Rule("CRYPTO", SURE, r"[13LMDT][1-9A-HJ-NP-Za-km-z]{25,34}", checks.coin, False),
    Rule("CRYPTO", SURE, r"(?:bc|tb|ltc|BC|TB|LTC)1[0-9A-Za-z]{11,71}", checks.coin, False),
    Rule("CRYPTO", SURE, r"0x[0-9a-fA-F]{40}", checks.coin, False),
    Rule("CRYPTO", WEAK, r"0x[0-9a-fA-F]{40}", bool, False),
    Rule("IP_ADDRESS", 0.6, r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", checks.ip, False),
    Rule("IP_ADDRESS", 0.7, r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})?", checks.ip, False),
    Rule("MAC_ADDRESS", 0.7, r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}", checks.mac, False),
    Rule("DATE_OF_BIRTH", WEAK, DATE, date, False),
    Rule("DATE_TIME", 0.5, DATE, date, False),
)  # fmt: skip
