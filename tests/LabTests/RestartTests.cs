using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>A data plane ends and starts again within the detection time: the same boot of the guest goes on, on the same host.</summary>
public sealed class RestartTests(RestartTests.Stage stage) : IClassFixture<RestartTests.Stage>
{
    /// <summary>Long enough for a start of the process on a busy machine; the default is 30 s.</summary>
    private const int DetectionSeconds = 10;
    private const int Repetitions = 5;
    private const int RepetitionsOfSecondary = 2;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task The_vm_outlives_its_data_plane_killed_five_times_in_a_row_and_once_handed_over()
    {
        var scene = await stage.ReadyAsync();
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
        var scene = await stage.ReadyAsync();
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
        var scene = await stage.ReadyAsync();
        await scene.Pair.Machines["beta"].PowerOffAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", SyncMax, static status => status.On("alpha") is { Role: "ALONE", Ready: true });
        await scene.KillAsync("alpha");
        await scene.Pair.StartDataPlaneAsync(scene.Alpha);
        await scene.WritesOnAsync();
        await scene.Pair.BootAsync(scene.Pair.Machines["beta"]);
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        await scene.JudgeAsync();
    }

    /// <summary>One pair for all of these tests, made by the first.</summary>
    public sealed class Stage : IAsyncLifetime
    {
        private PolluxPair? _pair;
        private WritingModule? _module;

        public Task InitializeAsync() => Task.CompletedTask;

        public async Task DisposeAsync()
        {
            if (_module is not null)
                await _module.DisposeAsync();
            if (_pair is not null)
                await _pair.DisposeAsync();
            (_module, _pair) = (null, null);
        }

        /// <summary>The module is mirrored and its guest writes on alpha. If an earlier test has left it otherwise, all is made anew.</summary>
        internal async Task<Scene> ReadyAsync()
        {
            if (_module is not null && _pair is not null)
            {
                try
                {
                    return await StartAsync(_pair, _module);
                }
                catch (LabException)
                {
                    await DisposeAsync();
                }
            }
            _pair = await PolluxPair.CreateAsync(DetectionSeconds);
            _module = await WritingModule.CreateAsync(_pair, "vm9", "alpha");
            return await StartAsync(_pair, _module);
        }

        private static async Task<Scene> StartAsync(PolluxPair pair, WritingModule module)
        {
            await module.StartAsync();
            await module.WaitUntilMirroredAsync(SyncMax);
            await module.WaitForRecordsAsync("alpha", more: 50);
            var vm = ExecutionObserver.ProcessOf(pair.Machines["alpha"], module.Name) ?? throw new LabException("The VM's process is not there.");
            return new Scene(pair, module, vm, Scene.Boots(module));
        }
    }

    internal sealed class Scene(PolluxPair pair, WritingModule module, int vm, int boots)
    {
        public PolluxPair Pair => pair;

        public WritingModule Module => module;

        public LabHost Alpha => pair.Machines["alpha"];

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

        public static int Boots(WritingModule module) => module.Serials.Values.Sum(static serial => serial.Boots.Count);
    }
}
