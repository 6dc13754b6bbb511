using Pollux.Lab.Machines;

namespace Pollux.Lab.Guest;

/// <summary>Proves the harness itself, without Pollux: a plain libvirt domain on one host writes records, the power goes
/// off, every acknowledged record is on the disk, the host comes back and the guest goes on where it stopped.</summary>
public static class GuestTrial
{
    private const int Slots = 4096;
    private static readonly TimeSpan BootMax = TimeSpan.FromSeconds(60);

    public static async Task<int> RunAsync()
    {
        var image = await GuestImage.BuildAsync();
        await using var lab = await VirtualLab.CreateAsync(["a"]);
        var host = lab["a"];
        await host.StartAsync();
        var guest = new GuestDomain("vm1", LabHost.ModulesFolder + "/vm1", Slots, DelayUs: 1000);
        await guest.WriteToAsync(host.OnMachine(guest.Folder), image, diskBytes: 64L << 20);
        await using var serial = new SerialLog(host.Name, host.OnMachine(guest.SerialPath));
        await using var observer = new ExecutionObserver(lab.Hosts, guest.Name);

        await host.CheckAsync("virsh", "-q", "create", $"{guest.Folder}/{guest.DefinitionFile}");
        await WaitForRecordsAsync(serial, 500);
        await host.PowerOffAsync();
        var scan = RecordFile.Scan(host.OnMachine($"{guest.Folder}/{GuestDomain.DiskFile}"), Slots);
        var acknowledged = serial.Last!.Acknowledged!.Value;
        var lost = scan.LostOf(acknowledged).Count;
        Console.WriteLine($"power off after ACK {acknowledged.Last}: {scan}; lost acknowledged records: {lost}");

        await host.StartAsync();
        await host.CheckAsync("virsh", "-q", "create", $"{guest.Folder}/{guest.DefinitionFile}");
        await WaitForRecordsAsync(serial, acknowledged.Last + 500);
        Console.WriteLine($"second boot found {serial.Last!.FoundMax}, went on to {serial.AcknowledgedMax}; observer: "
            + $"{observer.Samples} samples, {observer.Violations.Count} violations");
        await host.CheckAsync("virsh", "-q", "shutdown", guest.Name);
        await Eventually.TrueAsync("the guest obeys the power button", TimeSpan.FromSeconds(20),
            () => ExecutionObserver.ProcessOf(host, guest.Name) is null);
        return lost == 0 && scan.IsWhole && serial.Boots.Count == 2 && serial.Oddities.Count == 0 ? 0 : 1;
    }

    private static Task WaitForRecordsAsync(SerialLog serial, ulong number) =>
        Eventually.TrueAsync($"the guest acknowledges record {number}", BootMax, () => serial.AcknowledgedMax >= number,
            () => serial.Last?.ToString() ?? "no output");
}
