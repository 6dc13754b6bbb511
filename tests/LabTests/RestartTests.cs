using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>A data plane ends and starts again within the detection time: the same boot of the guest goes on, on the same host.</summary>
public sealed class RestartTests
{
    /// <summary>Long enough for a start of the process on a busy machine; the default is 30 s.</summary>
    private const int DetectionSeconds = 10;
    private const int Repetitions = 5;
    private const int RepetitionsOfSecondary = 2;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task The_vm_outlives_its_data_plane_killed_five_times_in_a_row_and_once_handed_over()
    {
        await using var scene = await Scene.CreateAsync();
        for (var i = 0; i <= Repetitions; i++)
        {
            if (i < Repetitions)
                await scene.KillAsync("alpha");
            else
                await scene.HandOverAsync("alpha");
            await scene.Pair.StartDataPlaneAsync(scene.Alpha);
            await scene.WritesOnAsync();
            await scene.Module.WaitUntilMirroredAsync(SyncMax);
        }

        await scene.JudgeAsync();
    }

    [LabFact]
    public async Task The_vm_does_not_notice_a_secondary_whose_data_plane_is_killed_or_handed_over_and_starts_again()
    {
        await using var scene = await Scene.CreateAsync();
        for (var i = 0; i <= RepetitionsOfSecondary; i++)
        {
            if (i < RepetitionsOfSecondary)
                await scene.KillAsync("beta");
            else
                await scene.HandOverAsync("beta");
            await scene.Pair.StartDataPlaneAsync(scene.Pair.Machines["beta"]);
            await scene.WritesOnAsync();
            await scene.Module.WaitUntilMirroredAsync(SyncMax);
        }

        await scene.JudgeAsync();
    }

    [LabFact]
    public async Task The_vm_of_a_host_that_is_alone_outlives_its_data_plane_and_the_peer_is_in_sync_again_later()
    {
        await using var scene = await Scene.CreateAsync();
        await scene.Pair.Machines["beta"].PowerOffAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", SyncMax, static status => status.On("alpha") is { Role: "ALONE", Ready: true });
        await scene.KillAsync("alpha");
        await scene.Pair.StartDataPlaneAsync(scene.Alpha);
        await scene.WritesOnAsync();
        await scene.Pair.BootAsync(scene.Pair.Machines["beta"]);
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        await scene.JudgeAsync();
    }

    /// <summary>A pair with a mirrored module whose guest writes on alpha.</summary>
    private sealed class Scene(PolluxPair pair, WritingModule module, int vm, int boots) : IAsyncDisposable
    {
        public PolluxPair Pair => pair;

        public WritingModule Module => module;

        public LabHost Alpha => pair.Machines["alpha"];

        public static async Task<Scene> CreateAsync()
        {
            var pair = await PolluxPair.CreateAsync(DetectionSeconds);
            try
            {
                var module = await WritingModule.CreateAsync(pair, "vm9", "alpha");
                await module.StartAsync();
                await module.WaitUntilMirroredAsync(SyncMax);
                await module.WaitForRecordsAsync("alpha", more: 50);
                var vm = ExecutionObserver.ProcessOf(pair.Machines["alpha"], module.Name) ?? throw new LabException("The VM's process is not there.");
                return new Scene(pair, module, vm, Boots(module));
            }
            catch
            {
                await pair.DisposeAsync();
                throw;
            }
        }

        public Task KillAsync(string host) => pair.DataPlanes[host].KillAsync();

        public async Task HandOverAsync(string host)
        {
            var process = pair.DataPlanes[host];
            Signals.Send(process.ProcessId ?? throw new LabException("The data plane is gone."), Signals.HandOver);
            await process.WaitForEndAsync(SyncMax);
        }

        /// <summary>The same boot of the guest, in the same process.</summary>
        public async Task WritesOnAsync()
        {
            await module.WaitForRecordsAsync("alpha", more: 100);
            Assert.Equal(vm, ExecutionObserver.ProcessOf(Alpha, module.Name));
            Assert.Equal(boots, Boots(module));
        }

        public async Task JudgeAsync()
        {
            var verdict = await module.JudgeAsync();
            Assert.Empty(verdict.Wrong);
            Assert.Equal(0ul, verdict.LostRecords);
        }

        public async ValueTask DisposeAsync()
        {
            await module.DisposeAsync();
            await pair.DisposeAsync();
        }

        private static int Boots(WritingModule module) => module.Serials.Values.Sum(static serial => serial.Boots.Count);
    }
}
