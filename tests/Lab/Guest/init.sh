#!/bin/sh
# The init of the lab's guest: loads the drivers, listens for the power button, runs the record writer.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module.ko"; done
read -r uptime _ < /proc/uptime
echo "GUEST READY uptime=$uptime"
slots=4096 delay_us=0
for word in $(cat /proc/cmdline); do
  case $word in
    lab.slots=*) slots=${word#*=} ;;
    lab.delay_us=*) delay_us=${word#*=} ;;
  esac
done
for event in /dev/input/event*; do recwriter button "$event" & done
recwriter write /dev/vda "$slots" "$delay_us"
echo "GUEST WRITER ENDED"
poweroff -f
