/* The program of the lab's guest. It writes numbered, checksummed records of 4 KiB to a disk, flushes each one, and
 * reports a number only after its flush returned, so that a line "ACK n" is a promise: record n is on the disk.
 *
 *   recwriter write DEVICE SLOTS DELAY_US    scan, then write from the highest record on, for ever
 *   recwriter button EVENT_DEVICE            wait for the power button, then switch the guest off
 *
 * Record n lies at slot n % SLOTS and replaces record n - SLOTS. Layout, little endian: magic u64, number u64, slot u64,
 * boot u64 (one per boot of the guest), time u64 (ns since 1970, the guest's clock), a fill derived from the number,
 * and at offset 4092 the CRC-32C of the 4092 bytes before it. RecordFile.cs is the same check on the host's side.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_BYTES = 4096, CHECKSUM_OFFSET = RECORD_BYTES - 4 };
#define RECORD_MAGIC 0x44524345524c5850ULL /* "PXLRECRD" */

struct record { uint64_t magic, number, slot, boot, time_ns; };

static uint32_t crc_table[256];

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    while (n--) c = crc_table[(c ^ *p++) & 255] ^ (c >> 8);
    return ~c;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int record_is_good(const uint8_t *b, uint64_t slot, uint64_t slots)
{
    const struct record *r = (const void *)b;
    uint32_t sum;
    memcpy(&sum, b + CHECKSUM_OFFSET, 4);
    return r->magic == RECORD_MAGIC && sum == crc32c(b, CHECKSUM_OFFSET) && r->slot == slot && r->number % slots == slot;
}

static uint64_t scan(int fd, uint8_t *b, uint64_t slots)
{
    const struct record *r = (const void *)b;
    uint64_t *numbers = calloc(slots, sizeof *numbers), max = 0, records = 0, bad = 0, missing = 0;
    if (!numbers) exit(1);
    for (uint64_t s = 0; s < slots; s++) {
        if (pread(fd, b, RECORD_BYTES, s * RECORD_BYTES) != RECORD_BYTES) { bad++; continue; }
        if (r->magic == 0) continue;
        if (!record_is_good(b, s, slots)) { bad++; continue; }
        records++;
        numbers[s] = r->number;
        if (r->number > max) max = r->number;
    }
    for (uint64_t n = max >= slots ? max - slots + 1 : 1; n <= max; n++)
        if (numbers[n % slots] != n) missing++;
    printf("SCAN records=%llu max=%llu bad=%llu missing=%llu\n", (unsigned long long)records, (unsigned long long)max,
           (unsigned long long)bad, (unsigned long long)missing);
    free(numbers);
    return max;
}

static int write_records(const char *device, uint64_t slots, unsigned delay_us)
{
    int fd = open(device, O_RDWR | O_DIRECT);
    uint8_t *b;
    if (fd < 0 || posix_memalign((void **)&b, RECORD_BYTES, RECORD_BYTES)) { perror(device); return 1; }
    struct record *r = (void *)b;
    uint64_t boot = now_ns(), n = scan(fd, b, slots) + 1;
    for (;;) {
        memset(b, 0, RECORD_BYTES);
        *r = (struct record){ RECORD_MAGIC, n, n % slots, boot, now_ns() };
        uint64_t x = n * 0x9E3779B97F4A7C15ULL;
        for (size_t i = sizeof *r; i + 8 <= CHECKSUM_OFFSET; i += 8) {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            memcpy(b + i, &x, 8);
        }
        uint32_t sum = crc32c(b, CHECKSUM_OFFSET);
        memcpy(b + CHECKSUM_OFFSET, &sum, 4);
        if (pwrite(fd, b, RECORD_BYTES, (n % slots) * RECORD_BYTES) != RECORD_BYTES || fdatasync(fd)) {
            printf("ERR %llu errno=%d\n", (unsigned long long)n, errno);
            sleep(1);
            continue;
        }
        printf("ACK %llu\n", (unsigned long long)n);
        n++;
        if (delay_us) usleep(delay_us);
    }
}

static int wait_for_button(const char *device)
{
    int fd = open(device, O_RDONLY);
    struct input_event e;
    if (fd < 0) { perror(device); return 1; }
    while (read(fd, &e, sizeof e) == sizeof e)
        if (e.type == EV_KEY && e.code == KEY_POWER && e.value == 1) {
            printf("POWER BUTTON\n");
            sync();
            reboot(RB_POWER_OFF);
        }
    return 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    crc_init();
    if (argc == 5 && !strcmp(argv[1], "write"))
        return write_records(argv[2], strtoull(argv[3], 0, 0), (unsigned)strtoul(argv[4], 0, 0));
    if (argc == 3 && !strcmp(argv[1], "button")) return wait_for_button(argv[2]);
    fprintf(stderr, "usage: recwriter write DEVICE SLOTS DELAY_US | button EVENT_DEVICE\n");
    return 2;
}
