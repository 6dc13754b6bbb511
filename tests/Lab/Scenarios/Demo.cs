using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Scenarios;

/// <summary>The demo: the whole product on this machine, left running for the user to try.</summary>
public static class Demo
{
    public const string LabId = "demo";
    public const string ModuleName = "vm1";
    public const int DetectionSeconds = 3;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    public static async Task<int> StartAsync()
    {
        var (pair, module) = await SetUpAsync();
        var command = pair.WriteCommandScript(Path.Combine(Repository.Root, "out", "demo", "pollux"));
        var status = (await pair.CliAsync("status")).Output;
        await module.DisposeAsync();
        pair.LeaveRunning();
        var hosts = string.Join('\n', pair.Machines.Hosts.Select(host =>
            $"  {host.Name,-8} shell: nsenter -t {host.InitProcessId} -n -m -u -i -p bash       libvirt: {host.LibvirtUri}"));
        Console.WriteLine($"""

            {status.TrimEnd()}

            The demo is running.
              API      {pair.ServerAddress}api/v1/status  (OpenAPI: {pair.ServerAddress}openapi/v1.json)
                       curl --cacert {pair.Api.AuthorityFile} -H "Authorization: Bearer $(cat {pair.Api.TokenFile})" {pair.ServerAddress}api/v1/status
            {hosts}

            To try:
              {command} status
              {command} watch
              {command} module swap {module.Key} --wait 60s
              {command} module show {module.Key}
              tail -f {pair.Machines.Hosts[0].OnMachine($"/var/log/libvirt/{ModuleName}.serial")}     # the guest's console on alpha
              kill -9 {pair.Machines.Hosts[0].InitProcessId}     # every process of alpha dies at once; the VM restarts on beta
              eng/demo --stop
            """);
        return 0;
    }

    public static async Task<int> StopAsync()
    {
        if (!Directory.Exists(LabFolder.Of(LabId)))
        {
            Console.WriteLine("No demo is running.");
            return 0;
        }
        await LabFolder.RemoveAsync(LabId);
        Console.WriteLine("The demo is stopped; its namespaces and files are gone.");
        return 0;
    }

    /// <summary>Lab, product, cluster, module, running VM, both copies in sync.</summary>
    internal static async Task<(PolluxPair Pair, WritingModule Module)> SetUpAsync()
    {
        if (Directory.Exists(LabFolder.Of(LabId)))
            throw new LabException("A demo is running already, or was left behind. End it first: eng/demo --stop");
        var pair = await PolluxPair.CreateAsync(DetectionSeconds, LabId, report: Say);
        try
        {
            var module = await WritingModule.CreateAsync(pair, ModuleName, "alpha");
            Say($"Module {module.Key} is made of {module.Folder} on alpha (kernel, initramfs, disk, definition)");
            await module.StartAsync();
            var boot = await module.WaitForBootAsync("alpha", DateTimeOffset.MinValue);
            Say($"The VM writes on alpha: first record {boot.Acknowledged!.Value.First}");
            await module.WaitUntilMirroredAsync(SyncMax);
            Say("Both copies are in sync: alpha PRIM, beta SECOND");
            return (pair, module);
        }
        catch
        {
            await pair.DisposeAsync();
            throw;
        }
    }

    internal static void Say(string what) => Console.WriteLine($"{DateTime.Now:HH:mm:ss.fff}  {what}");
}
