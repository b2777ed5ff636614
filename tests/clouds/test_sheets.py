"""The Sheets of the tests as Google's own client library finds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httplib2
import pytest
from google.auth.exceptions import RefreshError
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.clouds.sheets import Cloud

SCOPE = ["https://www.googleapis.com/auth/spreadsheets"]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    one = Cloud()
    yield one
    one.close()


def service(cloud: Cloud, scopes: list[str] = SCOPE, **other: Any) -> Any:
    """Google's client on the discovery document it brings along, pointed at the cloud."""
    known = service_account.Credentials.from_service_account_info(
        cloud.account(**other), scopes=scopes
    )
    http = AuthorizedHttp(known, http=httplib2.Http(timeout=10))
    made = build(
        "sheets",
        "v4",
        http=http,
        static_discovery=True,
        client_options={"api_endpoint": cloud.url},
    )
    return made.spreadsheets()


def test_a_tab_is_made_filled_and_read_back(cloud):
    book = cloud.book()
    sheets = service(cloud)
    add = {
        "addSheet": {
            "properties": {
                "sheetId": 77,
                "title": "Bob's trucks",
                "gridProperties": {"rowCount": 5, "columnCount": 3},
            }
        }
    }
    cells = {
        "updateCells": {
            "start": {"sheetId": 77, "rowIndex": 0, "columnIndex": 0},
            "fields": "userEnteredValue",
            "rows": [
                {
                    "values": [
                        {"userEnteredValue": {"stringValue": "=1+1"}},
                        {"userEnteredValue": {"numberValue": 87}},
                        {"userEnteredValue": {"boolValue": True}},
                    ]
                },
            ],
        }
    }
    made = sheets.batchUpdate(
        spreadsheetId=book.id, body={"requests": [add, cells]}
    ).execute()
    assert made["replies"][0]["addSheet"]["properties"]["sheetId"] == 77
    assert made["replies"][1] == {}

    read = (
        sheets.values()
        .get(
            spreadsheetId=book.id,
            range="'Bob''s trucks'!A1:C9",
            valueRenderOption="UNFORMATTED_VALUE",
        )
        .execute()
    )
    assert read["values"] == [["=1+1", 87, True]]
    with pytest.raises(HttpError, match="already exists"):
        sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [add]}).execute()
    empty = sheets.values().get(spreadsheetId=book.id, range="Sheet1").execute()
    assert "values" not in empty


def test_one_bad_request_and_none_is_applied(cloud):
    book = cloud.book()
    grow = {"appendDimension": {"sheetId": 0, "dimension": "ROWS", "length": 3}}
    far = {
        "updateCells": {
            "start": {"sheetId": 0, "rowIndex": 9999, "columnIndex": 0},
            "fields": "userEnteredValue",
            "rows": [{"values": [{}]}],
        }
    }
    note = {
        "createDeveloperMetadata": {
            "developerMetadata": {
                "metadataId": 9,
                "metadataKey": "k",
                "metadataValue": "v",
                "visibility": "PROJECT",
                "location": {"sheetId": 0},
            }
        }
    }
    sheets = service(cloud)
    with pytest.raises(HttpError) as caught:
        sheets.batchUpdate(
            spreadsheetId=book.id, body={"requests": [note, grow, far]}
        ).execute()

    assert caught.value.status_code == 400
    assert "requests[2].updateCells" in caught.value.reason
    assert len(book.tabs[0].rows) == 1000
    assert book.metadata == {}


def test_metadata_is_made_once_found_changed_and_read_with_its_sheet(cloud):
    book, sheets = cloud.book(), service(cloud)
    note = {
        "createDeveloperMetadata": {
            "developerMetadata": {
                "metadataId": 9,
                "metadataKey": "fleetd.cursor",
                "metadataValue": "1",
                "visibility": "PROJECT",
                "location": {"sheetId": 0},
            }
        }
    }
    wanted = {
        "developerMetadataLookup": {
            "metadataKey": "fleetd.cursor",
            "visibility": "PROJECT",
        }
    }
    change = {
        "updateDeveloperMetadata": {
            "dataFilters": [wanted],
            "developerMetadata": {"metadataValue": "2"},
            "fields": "metadataValue",
        }
    }
    sheets.batchUpdate(
        spreadsheetId=book.id, body={"requests": [note, change]}
    ).execute()

    found = (
        sheets.developerMetadata()
        .search(spreadsheetId=book.id, body={"dataFilters": [wanted]})
        .execute()
    )
    assert (
        found["matchedDeveloperMetadata"][0]["developerMetadata"]["metadataValue"]
        == "2"
    )
    seen = sheets.get(
        spreadsheetId=book.id,
        fields="properties.title,sheets(properties(sheetId,title),developerMetadata)",
    ).execute()
    assert seen["sheets"][0]["properties"] == {"sheetId": 0, "title": "Sheet1"}
    assert seen["sheets"][0]["developerMetadata"][0]["location"] == {
        "sheetId": 0,
        "locationType": "SHEET",
    }
    with pytest.raises(HttpError, match="already in use"):
        sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [note]}).execute()


def test_values_are_appended_filtered_written_and_cleared(cloud):
    book, sheets = cloud.book(), service(cloud)
    raw = {"spreadsheetId": book.id, "valueInputOption": "RAW"}
    sheets.values().update(
        **raw, range="Sheet1!A1", body={"values": [["id", "n"], ["a", 1]]}
    ).execute()
    done = (
        sheets.values()
        .append(**raw, range="Sheet1!A1", body={"values": [["b", 2]]})
        .execute()
    )
    assert done["updates"]["updatedRange"] == "Sheet1!A3:B3"
    grid = {
        "gridRange": {
            "sheetId": 0,
            "startRowIndex": 1,
            "endRowIndex": 9,
            "startColumnIndex": 0,
            "endColumnIndex": 1,
        }
    }
    body = {
        "dataFilters": [grid],
        "valueRenderOption": "UNFORMATTED_VALUE",
        "majorDimension": "ROWS",
    }
    found = (
        sheets.values().batchGetByDataFilter(spreadsheetId=book.id, body=body).execute()
    )
    assert found["valueRanges"][0]["valueRange"]["values"] == [["a"], ["b"]]
    sheets.values().clear(
        spreadsheetId=book.id, range="Sheet1!A2:B3", body={}
    ).execute()

    assert book.tabs[0].table() == [["id", "n"]]
    with pytest.raises(HttpError, match="valueInputOption"):
        sheets.values().update(
            spreadsheetId=book.id, range="Sheet1!A1", body={"values": [["x"]]}
        ).execute()


def test_rows_that_are_inserted_sorted_and_removed_take_their_metadata_along(cloud):
    book, sheets = cloud.book(), service(cloud)
    for row, word in enumerate(["id", "b", "a"]):
        book.tabs[0].type(row, 0, word)
    place = {"sheetId": 0, "dimension": "ROWS", "startIndex": 2, "endIndex": 3}
    note = {
        "createDeveloperMetadata": {
            "developerMetadata": {
                "metadataKey": "row",
                "visibility": "DOCUMENT",
                "location": {"dimensionRange": place},
            }
        }
    }
    insert = {"insertDimension": {"range": {**place, "startIndex": 1, "endIndex": 2}}}
    sheets.batchUpdate(
        spreadsheetId=book.id, body={"requests": [note, insert]}
    ).execute()
    (kept,) = book.metadata.values()
    assert kept.location["dimensionRange"]["startIndex"] == 3
    sort = {
        "sortRange": {
            "range": {"sheetId": 0, "startRowIndex": 1},
            "sortSpecs": [{"dimensionIndex": 0}],
        }
    }
    sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [sort]}).execute()

    assert book.tabs[0].table() == [["id"], ["a"], ["b"]]


def test_who_may_not_is_told_so(cloud):
    book = cloud.book(share=False)
    with pytest.raises(HttpError) as caught:
        service(cloud).get(spreadsheetId=book.id).execute()
    assert caught.value.status_code == 403
    with pytest.raises(HttpError) as caught:
        service(cloud).get(spreadsheetId="no-such-book").execute()
    assert caught.value.status_code == 404
    cloud.shared[book.id].add(cloud.account()["client_email"])
    read = service(cloud, ["https://www.googleapis.com/auth/spreadsheets.readonly"])
    assert read.get(spreadsheetId=book.id).execute()["spreadsheetId"] == book.id
    with pytest.raises(HttpError, match="scopes"):
        read.batchUpdate(spreadsheetId=book.id, body={"requests": [{}]}).execute()


def test_a_key_that_was_revoked_gets_no_token_and_an_ended_one_is_renewed(cloud):
    book, sheets = cloud.book(), service(cloud)
    sheets.get(spreadsheetId=book.id).execute()
    cloud.end_tokens()
    sheets.get(spreadsheetId=book.id).execute()  # the library renews it by itself
    assert cloud.logins == 2
    cloud.revoked = True
    with pytest.raises(RefreshError, match="Invalid JWT"):
        service(cloud).get(spreadsheetId=book.id).execute()


def test_what_is_over_the_quota_is_a_429_in_googles_words(cloud):
    book, sheets = cloud.book(), service(cloud)
    cloud.per_minute = 2
    for _ in range(2):
        sheets.get(spreadsheetId=book.id).execute()
    with pytest.raises(
        HttpError, match="Quota exceeded for quota metric 'Read requests'"
    ) as caught:
        sheets.get(spreadsheetId=book.id).execute()

    assert caught.value.status_code == 429
    assert caught.value.error_details[0]["reason"] == "RATE_LIMIT_EXCEEDED"


def test_an_answer_gets_lost_after_the_deed_was_done(cloud):
    book, sheets = cloud.book(), service(cloud)
    grow = {
        "requests": [
            {"appendDimension": {"sheetId": 0, "dimension": "ROWS", "length": 1}}
        ]
    }
    cloud.fault = lambda call: "503 after"
    with pytest.raises(HttpError):
        sheets.batchUpdate(spreadsheetId=book.id, body=grow).execute()
    cloud.fault = lambda call: "reset after" if call.write else ""
    with pytest.raises(OSError, match=r"reset|closed|abort"):
        sheets.batchUpdate(spreadsheetId=book.id, body=grow).execute()

    assert len(book.tabs[0].rows) > 1001


def test_a_book_has_at_most_ten_million_cells(cloud):
    book, sheets = cloud.book(), service(cloud)
    wide = {
        "addSheet": {
            "properties": {
                "title": "wide",
                "gridProperties": {"rowCount": 99_999, "columnCount": 100},
            }
        }
    }
    with pytest.raises(HttpError, match="10000000 cells"):
        sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [wide]}).execute()

    assert book.titles() == ["Sheet1"]


def test_merged_cells_and_formulas_read_as_google_tells_them(cloud):
    book = cloud.book()
    sheets = service(cloud)
    tab = book.tabs[0]
    for row, value in enumerate(("group", "North", "lost")):
        tab.type(row, 0, value)
    tab.calculate(1, 1, "=B99", "#REF!")
    place = {
        "sheetId": 0, "startRowIndex": 1, "endRowIndex": 3,
        "startColumnIndex": 0, "endColumnIndex": 1,
    }  # fmt: skip
    merge = {"mergeCells": {"range": place, "mergeType": "MERGE_ALL"}}
    sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [merge]}).execute()

    told = sheets.get(spreadsheetId=book.id, fields="sheets(merges)").execute()
    body = {
        "dataFilters": [{"gridRange": {"sheetId": 0, "startRowIndex": 1, "endRowIndex": 9}}],
        "valueRenderOption": "UNFORMATTED_VALUE",
    }  # fmt: skip
    read = sheets.values().batchGetByDataFilter(spreadsheetId=book.id, body=body)
    (found,) = read.execute()["valueRanges"]
    assert told["sheets"] == [{"merges": [place]}]
    assert found["valueRange"]["values"] == [["North", "#REF!"]]
    assert found["valueRange"]["range"].startswith("'Sheet1'!A2:")
