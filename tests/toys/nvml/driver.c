/* A driver's libnvidia-ml.so.1 without a card: what NVML's header promises, for nvidia-ml-py to call through its own
 * ctypes. FOLDER (a string) holds `pids`, one number a line, of those that compute on card 1, and `lost` once the card
 * has fallen off the bus. OLD leaves out what drivers before 510 lack. Two cards; card 0 tells nothing but its memory. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
typedef struct { int index; } *Device;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;

static struct { int index; } cards[] = {{0}, {1}};
static const char *uuids[] = {"GPU-0aaaaaaa-1111-2222-3333-444444444444", "GPU-1bbbbbbb-1111-2222-3333-444444444444"};

static int here(void) { return access(FOLDER "/lost", F_OK) ? SUCCESS : GPU_IS_LOST; }
static int told(Device card) { return here() ? here() : card->index ? SUCCESS : NOT_SUPPORTED; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "an error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.95.05"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *card) {
    if (index > 1) return INVALID_ARGUMENT;
    *card = (Device)&cards[index];
    return here();
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *card) {
    for (int i = 0; i < 2; i++)
        if (!strcmp(uuid, uuids[i])) { *card = (Device)&cards[i]; return here(); }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(Device card, char *text, unsigned size) { snprintf(text, size, "%s", uuids[card->index]); return here(); }
int nvmlDeviceGetName(Device card, char *text, unsigned size) { snprintf(text, size, "TOY H200 %d", card->index); return here(); }
int nvmlDeviceGetMemoryInfo(Device card, Memory *memory) {
    (void)card;
    memory->total = 141ULL << 30; memory->used = 3200000000ULL; memory->free = memory->total - memory->used;
    return here();
}
int nvmlDeviceGetUtilizationRates(Device card, Utilization *rates) { rates->gpu = 60; rates->memory = 10; return told(card); }
int nvmlDeviceGetClockInfo(Device card, unsigned kind, unsigned *mhz) { *mhz = kind == 1 ? 1980 : 1; return told(card); }
int nvmlDeviceGetTemperature(Device card, unsigned sensor, unsigned *celsius) { *celsius = sensor ? 0 : 41; return told(card); }
int nvmlDeviceGetPowerUsage(Device card, unsigned *milliwatts) { *milliwatts = 300000; return told(card); }
#ifdef OLD
int nvmlDeviceGetCurrentClocksThrottleReasons(Device card, unsigned long long *bits) { *bits = 4; return told(card); }
int nvmlDeviceGetComputeRunningProcesses_v2
#else
int nvmlDeviceGetCurrentClocksEventReasons(Device card, unsigned long long *bits) { *bits = 4; return told(card); }
int nvmlDeviceGetTotalEnergyConsumption(Device card, unsigned long long *millijoules) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = 300ULL * (now.tv_sec * 1000 + now.tv_nsec / 1000000);
    return told(card);
}
int nvmlDeviceGetComputeRunningProcesses_v3
#endif
(Device card, unsigned *count, Process *processes) {
    unsigned found = 0, pid, room = *count;
    FILE *file = card->index ? fopen(FOLDER "/pids", "r") : NULL;
    while (file && fscanf(file, "%u", &pid) == 1) {
        if (found < room && processes)
            processes[found] = (Process){pid, found ? ~0ULL : 500000000ULL, ~0U, ~0U};
        found++;
    }
    if (file) fclose(file);
    *count = found;
    return here() ? here() : found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
