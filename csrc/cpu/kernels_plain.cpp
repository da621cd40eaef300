#include "kernel_table.h"
