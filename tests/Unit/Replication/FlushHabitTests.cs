namespace Pollux.Tests.Unit.Replication;

public class FlushHabitTests
{
    private readonly FlushHabit _habit = new(operations: 64);

    [Fact]
    public void A_file_that_is_flushed_after_each_write_is_expected_to_go_on_so()
    {
        Assert.False(Written(7));
        Learn(7, writes: 1);
        Assert.True(_habit.Written(7, out var dataOnly));
        Assert.True(dataOnly);
        _habit.Flushed(7, dataOnly: false);
        Assert.True(_habit.Written(7, out dataOnly));
        Assert.False(dataOnly);
    }

    [Fact]
    public void Eight_writers_that_all_write_before_the_first_flushes_keep_the_habit()
    {
        Learn(7, writes: 1);
        for (var round = 0; round < 100; round++)
        {
            for (var i = 0; i < 8; i++)
                Assert.True(Written(7));
            for (var i = 0; i < 8; i++)
                _habit.Flushed(7, dataOnly: true);
        }
    }

    [Fact]
    public void Two_writes_for_each_flush_are_no_habit()
    {
        Learn(7, writes: 1);
        Learn(7, writes: 2);
        Assert.False(Written(7));
    }

    [Fact]
    public void Files_of_one_place_do_not_inherit_each_others_habit()
    {
        const ulong Other = 7 + FlushHabit.FilesMax;
        Learn(7, writes: 1);
        Assert.False(Written(Other));
        _habit.Flushed(7, dataOnly: true);
        Assert.False(Written(7));
    }

    private bool Written(ulong obj) => _habit.Written(obj, out _);

    private void Learn(ulong obj, int writes)
    {
        for (var round = 0; round < 200; round++)
        {
            for (var i = 0; i < writes; i++)
                Written(obj);
            _habit.Flushed(obj, dataOnly: true);
        }
    }
}
