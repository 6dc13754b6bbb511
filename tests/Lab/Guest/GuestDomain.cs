using System.Globalization;

namespace Pollux.Lab.Guest;

/// <summary>The libvirt definition of the lab's guest. It runs under software emulation: the lab wants a guest that behaves
/// alike on every machine, nested virtualisation or not. Kernel and initramfs lie in the module's directory, as the disk
/// does, so that they travel with it.</summary>
public sealed record GuestDomain(string Name, string Folder, int Slots, int DelayUs)
{
    public const string KernelFile = "kernel";
    public const string InitramfsFile = "initramfs";
    public const string DiskFile = "disk.raw";

    public string DefinitionFile => Name + ".xml";

    /// <summary>On the host that runs the guest; every host of the lab has its own /var/log/libvirt.</summary>
    public string SerialPath => $"/var/log/libvirt/{Name}.serial";

    /// <summary>Fills a directory with all that the guest is made of; the disk is sparse.</summary>
    public async Task WriteToAsync(string directory, GuestImage image, long diskBytes)
    {
        Directory.CreateDirectory(directory);
        File.Copy(image.KernelPath, Path.Combine(directory, KernelFile), overwrite: true);
        File.Copy(image.InitramfsPath, Path.Combine(directory, InitramfsFile), overwrite: true);
        await using (var disk = File.Create(Path.Combine(directory, DiskFile)))
            disk.SetLength(diskBytes);
        await File.WriteAllTextAsync(Path.Combine(directory, DefinitionFile), ToXml());
    }

    public string ToXml() => string.Create(CultureInfo.InvariantCulture, $"""
        <domain type='qemu'>
          <name>{Name}</name>
          <memory unit='MiB'>96</memory>
          <vcpu>1</vcpu>
          <os>
            <type arch='x86_64' machine='q35'>hvm</type>
            <kernel>{Folder}/{KernelFile}</kernel>
            <initrd>{Folder}/{InitramfsFile}</initrd>
            <cmdline>console=ttyS0 panic=-1 quiet nokaslr mitigations=off no_timer_check tsc=reliable lab.slots={Slots} lab.delay_us={DelayUs}</cmdline>
          </os>
          <features><acpi/></features>
          <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
          <on_poweroff>destroy</on_poweroff>
          <on_reboot>restart</on_reboot>
          <on_crash>destroy</on_crash>
          <devices>
            <emulator>/usr/bin/qemu-system-x86_64</emulator>
            <disk type='file' device='disk'>
              <driver name='qemu' type='raw' cache='none' io='native'/>
              <source file='{Folder}/{DiskFile}'/>
              <target dev='vda' bus='virtio'/>
            </disk>
            <serial type='file'><source path='{SerialPath}' append='on'/></serial>
            <controller type='usb' model='none'/>
            <memballoon model='none'/>
          </devices>
        </domain>

        """);
}
