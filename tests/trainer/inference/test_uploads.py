"""Files that wait on the drop page: handed out once, and never too many."""

import pytest

from trainer.inference.uploads import MOST_WAITING, Busy, Upload, Uploads

MIB = 2**20


def test_a_file_is_handed_out_once_and_by_its_own_key():
    uploads = Uploads()
    a, b = uploads.put([Upload("a", b"1"), Upload("a", b"1")])
    assert a != b and len(uploads) == 2
    assert uploads.take(b) == Upload("a", b"1")
    assert uploads.take(b) is None and uploads.take("/etc/passwd") is None
    assert len(uploads) == 1


def test_many_files_that_wait_refuse_one_more_until_one_is_answered():
    uploads = Uploads()
    keys = uploads.put([Upload(str(i), b"") for i in range(MOST_WAITING)])
    with pytest.raises(Busy, match="busy: 64 images wait"), uploads.coming(1):
        pass
    uploads.take(keys[0])
    with uploads.coming(1):
        pass


def test_bytes_count_that_wait_and_that_are_on_their_way():
    uploads = Uploads()
    (key,) = uploads.put([Upload("a", bytes(MIB))])
    with uploads.coming(200 * MIB):
        with pytest.raises(Busy, match="1 image waits"), uploads.coming(56 * MIB):
            pass
        with uploads.coming(55 * MIB):
            pass
    with uploads.coming(255 * MIB):
        pass
    uploads.take(key)
    with uploads.coming(256 * MIB):
        pass


def test_what_was_not_sent_to_its_end_takes_no_room():
    uploads = Uploads()
    for _ in range(3):
        with pytest.raises(ConnectionError), uploads.coming(200 * MIB):
            raise ConnectionError


def test_no_name_and_no_byte_of_a_file_is_in_what_errors_print():
    assert "secret" not in repr(Upload("a", b"secret"))
